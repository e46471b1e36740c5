"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest

# Most of a test's time is compilation: compile fast rather than well. Before JAX is imported.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# Bounds are those of float32: not of TF32 and bfloat16, to which GPUs and TPUs round products.
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
os.environ.update({"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"} | os.environ)

REPOSITORY = Path(__file__).resolve().parents[1]


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
