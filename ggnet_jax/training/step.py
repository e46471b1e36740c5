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

_DTYPES = {"image": np.float32, "boxes": np.float32, "example_weight": np.float32}
_DTYPES |= {"box_valid": np.bool_, "relation_valid": np.bool_}
Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, Mapping[str, jax.Array]], tuple[TrainState, Metrics]]


def batch_shapes(config: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """The arrays of `BATCH_KEYS` of a configuration's (global) batches."""
    data = config.data
    shapes = {
        "image": (*data.image_size, 3),
        "boxes": (data.max_boxes, 4),
        "classes": (data.max_boxes,),
        "box_valid": (data.max_boxes,),
        "relations": (data.max_relations, 3),
        "relation_valid": (data.max_relations,),
        "example_weight": (),
    }
    return {
        name: jax.ShapeDtypeStruct((config.batch_size, *shapes[name]), _DTYPES.get(name, np.int32))
        for name in BATCH_KEYS
    }


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    loss_config: Any,
    verbs_of_object: np.ndarray,
    *,
    axis_name: str | None = None,
    accumulate_steps: int = 1,
    scan_parts: bool | None = None,
    ema_decay: float = 0.0,
    frozen: tuple[str, ...] = (),
) -> TrainStep:
    """Build `train_step(state, batch) -> (state, metrics)`.

    With `accumulate_steps` the batch is worked through in so many equal parts, one after the other,
    which needs the memory of a part; the parts' gradients add up to that of the batch, since every
    loss is divided by the counts of the whole batch. BatchNorm alone sees a part at a time: it
    normalizes by the images of a part, and its running statistics move once a part, each time
    with their usual momentum. They follow the newest images faster for it.

    Args:
        model: the network; made with the same `axis_name`.
        optimizer: its updates are added to the parameters.
        schedule: for the metrics.
        loss_config: `interaction`, `lambda_1`, `lambda_2`, `sharp_gaze_targets`.
        verbs_of_object: [O, V] bool, the pairs seen in training (hard negatives).
        axis_name: None where the batch is whole, as under `jit`; the name of pmap's axis where
            every device sees its own shard of the batch.
        accumulate_steps: parts of a batch, by which a device's share of it is divisible.
        scan_parts: whether a loop of XLA's goes over the parts; None is everywhere but on a CPU.
        ema_decay: of the average of the weights, if the state has one; see `state.Average`.
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

    def render(batch: Mapping[str, jax.Array]) -> targets.Targets:
        height, width = batch["image"].shape[1:3]
        return targets.render_targets(
            targets.Annotations(*(batch[name] for name in targets.Annotations._fields)),
            map_size=(height // OUTPUT_STRIDE, width // OUTPUT_STRIDE),
            num_verbs=num_verbs,
            num_objects=num_objects,
            verbs_of_object=jnp.asarray(verbs_of_object),
            sharp_gaze_targets=loss_config.sharp_gaze_targets,
        )

    def batch_loss(
        params: Any,
        batch_stats: Any,
        batch: Mapping[str, jax.Array],
        counts: losses.Counts | None = None,
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        images = normalize_images(batch["image"])
        outputs, updated = model.apply(
            {"params": without_gradients(params, frozen), "batch_stats": batch_stats},
            images,
            train="backbone" not in frozen,
            mutable=["batch_stats"],
        )
        total, terms = losses.ggnet_loss(
            outputs,
            render(batch),
            weights,
            example_weight=batch["example_weight"],
            axis_name=axis_name,
            counts=counts,
        )
        return total, (terms, updated["batch_stats"])

    if scan_parts is None:
        scan_parts = jax.default_backend() != "cpu"
    gradient_of = jax.value_and_grad(batch_loss, has_aux=True)

    def counts_of(part: Mapping[str, jax.Array]) -> losses.Counts:
        weight = part["example_weight"]
        return losses.loss_counts(render(part), example_weight=weight, axis_name=axis_name)

    def gradient_of_parts(params: Any, batch_stats: Any, batch: Mapping[str, jax.Array]) -> Any:
        """What `gradient_of` returns, without the memory for the whole batch."""
        parts = {name: _split(array, accumulate_steps) for name, array in batch.items()}
        counts = jax.tree.map(jnp.sum, jax.lax.map(counts_of, parts))

        def add(carry: tuple[Any, Any], part: Mapping[str, jax.Array]) -> Any:
            gradient, batch_stats = carry
            (loss, (terms, batch_stats)), more = gradient_of(params, batch_stats, part, counts)
            return (jax.tree.map(jnp.add, gradient, more), batch_stats), (loss, terms)

        zeros = jax.tree.map(jnp.zeros_like, params)
        scan = jax.lax.scan if scan_parts else _scan_on_cpu
        (gradient, batch_stats), scalars = scan(add, (zeros, batch_stats), parts)
        loss, terms = jax.tree.map(jnp.sum, scalars)
        return (loss, (terms, batch_stats)), gradient

    def train_step(state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Metrics]:
        compute = gradient_of if accumulate_steps == 1 else gradient_of_parts
        (loss, (terms, batch_stats)), gradient = compute(state.params, state.batch_stats, batch)
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
        average = state.average
        if average is not None:
            average = average.update(params, batch_stats, ema_decay)
        return TrainState(state.step + 1, params, batch_stats, opt_state, average), metrics

    return train_step


def _split(array: jax.Array, parts: int) -> jax.Array:
    """[B, ...] -> [parts, B / parts, ...]; every `parts`-th image makes a part.

    So each device of a mesh has its share of every part, and no image has to move.
    """
    return jnp.swapaxes(array.reshape(-1, parts, *array.shape[1:]), 0, 1)


def _scan_on_cpu(function: Callable[..., Any], carry: Any, parts: Mapping[str, jax.Array]) -> Any:
    """`jax.lax.scan` over the parts of a batch without XLA's loop.

    XLA brings the axes of convolutions into an order that its CPU kernels know outside of loops
    alone, so that their gradients take 20 times as long inside. Without a loop it may start with
    the next part before the memory of this one is free; a barrier would be dropped before the
    operations get their order, so a zero that only the carry can tell is added to the images.
    """
    results = []
    for index in range(len(parts["image"])):
        part = {name: array[index] for name, array in parts.items()}
        seen = sum(leaf.ravel()[0] for leaf in jax.tree.leaves(carry))
        part["image"] += 0 * jnp.asarray(seen, part["image"].dtype)
        carry, result = function(carry, part)
        results.append(result)
    return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


def _all_finite(tree: Any) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()
