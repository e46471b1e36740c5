"""One pure update: images and boxes -> targets -> loss -> gradient -> Adam."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ggnet_jax.config import OUTPUT_STRIDE
from ggnet_jax.ops.normalize import normalize_images
from ggnet_jax.training import losses, targets
from ggnet_jax.training.optimizer import without_gradients
from ggnet_jax.training.state import TrainState

# What the device needs of a batch; the rest stays on the host.
BATCH_KEYS = (
    "image",
    "boxes",
    "classes",
    "box_valid",
    "relations",
    "relation_valid",
    "example_weight",
)

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, Mapping[str, jax.Array]], tuple[TrainState, Metrics]]


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    loss_config: Any,
    verbs_of_object: np.ndarray,
    *,
    axis_name: str | None = None,
    frozen: tuple[str, ...] = (),
) -> TrainStep:
    """Build `train_step(state, batch) -> (state, metrics)`.

    Args:
        model: the network; made with the same `axis_name`.
        optimizer: its updates are added to the parameters.
        schedule: for the metrics.
        loss_config: `interaction`, `lambda_1`, `lambda_2`, `sharp_gaze_targets`.
        verbs_of_object: [O, V] bool, the pairs seen in training (hard negatives).
        axis_name: None where the batch is whole, as under `jit`; the name of pmap's axis where
            every device sees its own shard of the batch.
        frozen: modules that are not trained (`config.frozen_modules`). No gradient is computed for
            them. A frozen backbone normalizes by its running statistics, as in inference, and
            does not update them: only the backbone has batch norms.

    Returns:
        A pure function. `batch` has the arrays of `BATCH_KEYS`. The metrics are scalars: `loss`,
        its terms, `gradient_norm`, `learning_rate`, and `finite`, False if the loss, the gradient
        or the new state is not.
    """
    num_objects, num_verbs = verbs_of_object.shape
    weights = losses.LossWeights(
        loss_config.lambda_1, loss_config.lambda_2, interaction=loss_config.interaction
    )

    def batch_loss(
        params: Any, batch_stats: Any, batch: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        images = normalize_images(batch["image"])
        outputs, updated = model.apply(
            {"params": without_gradients(params, frozen), "batch_stats": batch_stats},
            images,
            train="backbone" not in frozen,
            mutable=["batch_stats"],
        )
        height, width = images.shape[1:3]
        drawn = targets.render_targets(
            targets.Annotations(*(batch[name] for name in targets.Annotations._fields)),
            map_size=(height // OUTPUT_STRIDE, width // OUTPUT_STRIDE),
            num_verbs=num_verbs,
            num_objects=num_objects,
            verbs_of_object=jnp.asarray(verbs_of_object),
            sharp_gaze_targets=loss_config.sharp_gaze_targets,
        )
        total, terms = losses.ggnet_loss(
            outputs,
            drawn,
            weights,
            example_weight=batch["example_weight"],
            axis_name=axis_name,
        )
        return total, (terms, updated["batch_stats"])

    def train_step(state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Metrics]:
        gradient_of = jax.value_and_grad(batch_loss, has_aux=True)
        (loss, (terms, batch_stats)), gradient = gradient_of(state.params, state.batch_stats, batch)
        if axis_name is not None:
            # Every device has the loss of the global batch. Differentiating its psum has added
            # up the cotangents of all of them, hence the mean where one would expect the sum.
            gradient = jax.lax.pmean(gradient, axis_name)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        norm = optax.tree.norm(gradient)
        metrics = {
            **terms,
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
            "finite": jnp.isfinite(loss) & jnp.isfinite(norm) & _all_finite((params, batch_stats)),
        }
        return TrainState(state.step + 1, params, batch_stats, opt_state), metrics

    return train_step


def _all_finite(tree: Any) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()
