"""Data sets as TFDS builders, and the tf.data pipeline that turns them into batches.

The package is lazy: reading or cleaning annotations loads no TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_pipelines.datasets import Dataset, load_dataset
    from data_pipelines.input_pipeline import eval_batches, steps_per_epoch, train_batches
    from data_pipelines.inspection import inspect_dataset

_HOME = {
    "Dataset": "datasets",
    "load_dataset": "datasets",
    "inspect_dataset": "inspection",
    "eval_batches": "input_pipeline",
    "steps_per_epoch": "input_pipeline",
    "train_batches": "input_pipeline",
}
__all__ = [
    "Dataset",
    "eval_batches",
    "inspect_dataset",
    "load_dataset",
    "steps_per_epoch",
    "train_batches",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
