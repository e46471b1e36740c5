"""Who is warned of slow atomic adds; requirements exclude the same versions."""

import re
from pathlib import Path

import pytest

from ggnet_jax.cli import cuda_atomics

REQUIREMENTS = Path(__file__).parents[2] / "requirements.txt"


@pytest.mark.parametrize(
    ("installed", "slow"),
    [("0.10.1", False), ("0.10.2", True), ("0.11.0", True), ("0.11.1", False), ("0.12.0", False)],
)
def test_warning(monkeypatch, installed, slow):
    monkeypatch.setattr(cuda_atomics, "version", lambda package: installed)
    assert (installed in cuda_atomics.warning("gpu")) is slow
    assert cuda_atomics.warning("cpu") == ""
    requirement = re.search(r"^jaxlib(.*)$", REQUIREMENTS.read_text(), re.MULTILINE)
    assert requirement and (f"!={installed}" in requirement[1]) is slow
