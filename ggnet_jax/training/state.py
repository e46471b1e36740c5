"""What training carries from step to step."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import serialization, struct

_WARM_UP = 9  # an average of n updates is one of about the last n / 9 of them, at most


class Average(struct.PyTreeNode):
    """An exponential moving average of the weights, which is evaluated in their place.

        average = d average + (1 - d) weights,   d = min(decay, n / (n + 9))

    with n the updates averaged before. (TensorFlow's `ExponentialMovingAverage` and timm have the
    same rule.) So the first update is taken whole, whatever the average began with, and the average
    of a short run is not one of its first weights.

    The running statistics of the batch norms are averaged like the weights: they are those of
    activations of the weights of the same updates.

    Attributes:
        count: n, int32 [].
        params, batch_stats: as in `TrainState`.
    """

    count: jax.Array
    params: Any
    batch_stats: Any

    def update(self, params: Any, batch_stats: Any, decay: float) -> "Average":
        """The average with the weights after one more update."""
        count = self.count.astype(jnp.float32)
        keep = jnp.minimum(decay, count / (count + _WARM_UP))

        def mix(old: jax.Array, new: jax.Array) -> jax.Array:
            # In this form what does not change, as frozen weights, stays what it is to the bit.
            return (new + keep * (old - new)).astype(new.dtype)

        return Average(
            self.count + 1,
            jax.tree.map(mix, self.params, params),
            jax.tree.map(mix, self.batch_stats, batch_stats),
        )


class TrainState(struct.PyTreeNode):
    """Everything an update reads and writes; a tree of arrays.

    Attributes:
        step: number of updates so far, int32 [].
        params: the network's parameters, float32.
        batch_stats: running means and variances of the batch norms, float32.
        opt_state: the optimizer's state.
        average: of `params` and `batch_stats`; None without `config.ema_decay`.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    average: Average | None = None


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_size: tuple[int, int],
    seed: int,
    *,
    average: bool = False,
) -> TrainState:
    """A state with fresh parameters; pure, so that `jax.jit` can place its result.

    Args:
        model: the network.
        optimizer: see `optimizer.create_optimizer`.
        image_size: (H, W) of the input.
        seed: of the initial values.
        average: whether the weights are averaged.
    """
    images = jnp.zeros((1, *image_size, 3), jnp.float32)
    # XLA compiles this generator several times faster than the default one, once a parameter.
    key = jax.random.key(seed, impl="rbg")
    variables = model.init(key, images, train=False)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        average=_start_average(params, batch_stats) if average else None,
    )


def _start_average(params: Any, batch_stats: Any) -> Average:
    """An average that begins with some weights; of the copies a step may consume each."""
    params, batch_stats = jax.tree.map(jnp.copy, (params, batch_stats))
    return Average(jnp.zeros((), jnp.int32), params, batch_stats)


def to_checkpoint(state: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state as the two nested dictionaries that `Checkpoints.save` takes.

    The first has the weights to be used: their average, if there is one. The weights to train on
    then lie with the rest of the training.
    """
    weights = {"params": state.params, "batch_stats": state.batch_stats}
    training = {"step": state.step, "opt_state": serialization.to_state_dict(state.opt_state)}
    if state.average is None:
        return weights, _without_empty(training)
    averaged = {"params": state.average.params, "batch_stats": state.average.batch_stats}
    training |= {"weights": weights, "averaged": state.average.count}
    return averaged, _without_empty(training)


def from_checkpoint(
    template: TrainState, variables: dict[str, Any], training: dict[str, Any]
) -> TrainState:
    """Put restored arrays into the structure of `template` (of which only the shapes matter).

    Imported weights come without an optimizer's state: Adam's is all zeros before its first step.
    An average that `template` has and the checkpoint has not begins with the checkpoint's weights;
    one that `template` has not is dropped.

    Raises:
        ValueError: a leaf is missing or has another shape.
    """
    structure = serialization.to_state_dict(template)
    optimizer = training.get("opt_state")
    if optimizer is None:
        optimizer = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), structure["opt_state"])
    weights = training.get("weights", variables)
    saved = {
        "params": weights["params"],
        "batch_stats": weights.get("batch_stats", {}),
        "step": training["step"],
        "opt_state": optimizer,
        "average": None,
    }
    if template.average is not None:
        count = training.get("averaged", np.zeros((), np.int32))
        saved["average"] = {"count": count, "batch_stats": {}, **variables}
    restored = serialization.from_state_dict(template, _like(structure, saved, ""))
    return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), restored, template)


def _like(structure: Any, saved: Any, path: str) -> Any:
    """`saved` with the empty dictionaries of `structure` put back and every shape compared."""
    if structure is None:  # an average that is not kept
        return None
    if isinstance(structure, dict):
        if structure and not isinstance(saved, dict):
            raise ValueError(f"the checkpoint has no {path.lstrip('/')}")
        saved = saved or {}
        return {k: _like(v, saved.get(k), f"{path}/{k}") for k, v in structure.items()}
    if saved is None or saved.shape != structure.shape:
        found = "nothing" if saved is None else saved.shape
        raise ValueError(
            f"the checkpoint has {found} for {path.lstrip('/')}, not {structure.shape}"
        )
    return saved


def _without_empty(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    kept = {k: _without_empty(v) for k, v in tree.items()}
    return {k: v for k, v in kept.items() if not (isinstance(v, dict) and not v)}
