"""Who is warned of slow atomic adds; requirements exclude the same versions."""

import re
from pathlib import Path

import jaxlib
import pytest

from ggnet_jax.cli import cuda_atomics

REQUIREMENTS = Path(__file__).parents[2] / "requirements.txt"


@pytest.mark.parametrize(
    ("version", "slow"),
    [("0.10.1", False), ("0.10.2", True), ("0.11.0", True), ("0.11.1", False), ("0.12.0", False)],
)
def test_warning(monkeypatch, version, slow):
    monkeypatch.setattr(jaxlib, "__version__", version)
    assert (version in cuda_atomics.warning("gpu")) is slow
    assert cuda_atomics.warning("cpu") == ""
    requirement = re.search(r"^jaxlib(.*)$", REQUIREMENTS.read_text(), re.MULTILINE)
    assert requirement and (f"!={version}" in requirement[1]) is slow
