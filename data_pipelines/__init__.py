"""Data sets as TFDS builders, and the tf.data pipeline that turns them into batches."""

from data_pipelines.datasets import Dataset, load_dataset
from data_pipelines.input_pipeline import eval_batches, steps_per_epoch, train_batches

__all__ = ["Dataset", "eval_batches", "load_dataset", "steps_per_epoch", "train_batches"]
