"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest
from subprocesses import COMPILE_FAST, REPOSITORY

os.environ.setdefault("XLA_FLAGS", COMPILE_FAST)  # before JAX is imported
# Bounds are those of float32: not of TF32 and bfloat16, to which GPUs and TPUs round products.
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
os.environ.update({"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"} | os.environ)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real annotations, photos and reference arrays, which users don't have."""
    folder = Path(os.environ.get("GGNET_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"no reference data at {folder}; set GGNET_SHARED to run this test")
    return folder


@pytest.fixture
def torch():
    """PyTorch, which is an optional install."""
    return pytest.importorskip("torch", reason="PyTorch is an optional install: pip install torch")
