"""Precision-recall curves in the format of TensorBoard's own plugin."""

import numpy as np

from ggnet_jax.evaluation.precision_recall import Curve


def write(tag: str, curve: Curve, step: int) -> None:
    """Write a curve to the default summary writer.

    There are no true negatives in detection; they are given as 0.

    Args:
        tag: its name.
        curve: counts at evenly spaced thresholds.
        step: number of updates done.
    """
    import tensorflow as tf
    from tensorboard.plugins.pr_curve import metadata

    rows = [
        curve.true_positives,
        curve.false_positives,
        np.zeros_like(curve.true_positives),
        curve.ground_truth - curve.true_positives,
        curve.precision,
        curve.recall,
    ]
    about = metadata.create_summary_metadata("", "", len(curve.precision))
    tf.summary.write(tag, np.stack(rows).astype(np.float32), step=step, metadata=about)
