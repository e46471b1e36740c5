"""The guard against slow additions: which versions, which devices, what becomes of XLA_FLAGS."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from ggnet_jax.cli import cuda_atomics

FLAG = "--xla_backend_extra_options=-nvptx-allow-ftz-atomics"


@pytest.fixture
def install(monkeypatch):
    """Pretend that these versions are installed and nothing else."""

    def pretend(**versions):
        def version(package):
            if package not in versions:
                raise importlib.metadata.PackageNotFoundError(package)
            return versions[package]

        monkeypatch.setattr(importlib.metadata, "version", version)

    return pretend


@pytest.mark.parametrize(
    ("jaxlib", "changed"),
    [("0.10.1", False), ("0.10.2", True), ("0.11.0", True), ("0.11.1", False), ("0.12.0", False)],
)
def test_versions_concerned(install, jaxlib, changed):
    install(**{"jaxlib": jaxlib, "jax-cuda13-plugin": jaxlib})
    environment = {}
    assert cuda_atomics.use_native_atomics(environment) is changed
    assert environment == ({"XLA_FLAGS": FLAG} if changed else {})


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--xla_dump_to=/tmp/d", f"--xla_dump_to=/tmp/d {FLAG}"),
        (
            "--xla_backend_extra_options=-a=1 --xla_dump_to=/tmp/d",
            "--xla_backend_extra_options=-a=1,-nvptx-allow-ftz-atomics --xla_dump_to=/tmp/d",
        ),
        (FLAG, FLAG),
    ],
)
def test_flags_of_the_user_stay(install, flags, expected):
    install(**{"jaxlib": "0.10.2", "jax-cuda12-plugin": "0.10.2"})
    environment = {"XLA_FLAGS": flags}
    cuda_atomics.use_native_atomics(environment)
    assert environment["XLA_FLAGS"] == expected


def test_other_devices_are_left_alone(install):
    install(jaxlib="0.10.2")
    assert not cuda_atomics.use_native_atomics({})
    install(**{"jaxlib": "0.10.2", "jax-cuda12-plugin": "0.10.2"})
    assert not cuda_atomics.use_native_atomics({"JAX_PLATFORMS": "cpu"})
    assert cuda_atomics.use_native_atomics({"JAX_PLATFORMS": "cuda,cpu"})


def test_warning_where_the_flag_is_missing(install):
    install(jaxlib="0.11.0")
    assert "0.11.0" in cuda_atomics.warning("gpu", {}) and FLAG in cuda_atomics.warning("gpu", {})
    assert cuda_atomics.warning("gpu", {"XLA_FLAGS": FLAG}) == ""
    assert cuda_atomics.warning("cpu", {}) == ""
    install(jaxlib="0.11.1")
    assert cuda_atomics.warning("gpu", {}) == ""


def test_xla_knows_the_option():
    """An unknown flag would end the process; this one leaves a CPU's results alone."""
    code = "import jax.numpy as jnp; print(jnp.zeros(2).at[jnp.array([1, 1])].add(1.0)[1])"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"XLA_FLAGS": FLAG, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout.strip()) == (0, "2.0"), result.stderr
