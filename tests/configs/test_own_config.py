"""configs/own.py: the network of the machine, or the one that is asked for."""

import glob
import importlib.metadata
import importlib.util

import pytest

from configs import own
from ggnet_jax.cli import accelerators
from ggnet_jax.config import ModelConfig, check_config


@pytest.fixture
def machine(monkeypatch):
    """A machine of which only the given modules and files are there."""

    def make(*there, platforms=""):
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in there or None)
        monkeypatch.setattr(glob, "glob", lambda pattern: [f for f in there if f == pattern])
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])

    return make


@pytest.mark.parametrize(
    ("there", "platforms", "expected"),
    [
        ((), "", False),
        (("jax_cuda13_plugin",), "", False),  # no device: a login node
        (("/dev/nvidiactl",), "", False),  # JAX without CUDA
        (("jax_cuda13_plugin", "/dev/nvidiactl"), "", True),
        (("libtpu", "/dev/accel*"), "", True),
        (("jax_cuda13_plugin", "/dev/nvidiactl"), "cpu", False),
        ((), "cuda,cpu", True),
        ((), "cpu,cuda", False),
    ],
)
def test_the_network_goes_with_the_machine(machine, there, platforms, expected, capsys):
    machine(*there, platforms=platforms)
    assert accelerators.expected() == expected
    name = "hourglass" if expected else "small"
    assert own.get_config().to_dict() == own.get_config(name).to_dict()
    printed = capsys.readouterr().err
    assert f"configs/own.py:{name} is taken" in printed and printed.count("\n") == 1


def test_networks_by_name(capsys):
    for name, backbone, size in (
        ("small", "hourglass", 256),
        ("dla34", "dla34", 512),
        ("hourglass", "hourglass", 512),
    ):
        config = own.get_config(name)
        check_config(config)
        assert (config.model.backbone, config.data.image_size) == (backbone, (size, size))
    paper = ModelConfig()
    assert config.model.widths == paper.widths and config.model.stacks == paper.stacks
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="has small, dla34, hourglass"):
        own.get_config("large")
