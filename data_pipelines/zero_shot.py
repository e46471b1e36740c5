"""Training without the classes of a zero-shot split.

Both ways that the field has, under names. Images stay, also those that lose all relations.
"""

import numpy as np
import tensorflow as tf

POLICIES = ("relation", "pair")
"""Drop the unseen relation alone, or every one of a human-object pair that has an unseen one."""


def seen_relations(
    relations: tf.Tensor, classes: tf.Tensor, unseen: np.ndarray, policy: str
) -> tf.Tensor:
    """The relations of an image that may be trained on.

    Args:
        relations: [R, 3] (human box, object box, verb).
        classes: [N] object index of each box.
        unseen: [O, V] bool, the pairs that must not be seen.
        policy: one of `POLICIES`.

    Returns:
        Some of the rows of `relations`, in their order.
    """
    human, obj, verb = tf.unstack(relations, axis=1)
    dropped = tf.gather_nd(tf.constant(unseen), tf.stack([tf.gather(classes, obj), verb], axis=1))
    if policy == "pair":
        same_pair = (human[:, None] == human[None]) & (obj[:, None] == obj[None])
        dropped = tf.reduce_any(same_pair & dropped[None], axis=1)
    return tf.boolean_mask(relations, tf.logical_not(dropped))
