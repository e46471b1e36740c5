"""What training carries from step to step."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import serialization, struct


class TrainState(struct.PyTreeNode):
    """Everything an update reads and writes; a tree of arrays.

    Attributes:
        step: number of updates so far, int32 [].
        params: the network's parameters, float32.
        batch_stats: running means and variances of the batch norms, float32.
        opt_state: the optimizer's state.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_size: tuple[int, int],
    seed: int,
) -> TrainState:
    """A state with fresh parameters; pure, so that `jax.jit` can place its result.

    Args:
        model: the network.
        optimizer: see `optimizer.create_optimizer`.
        image_size: (H, W) of the input.
        seed: of the initial values.
    """
    images = jnp.zeros((1, *image_size, 3), jnp.float32)
    # XLA compiles this generator several times faster than the default one, once a parameter.
    key = jax.random.key(seed, impl="rbg")
    variables = model.init(key, images, train=False)
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
    )


def to_checkpoint(state: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state as the two nested dictionaries that `Checkpoints.save` takes."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    training = {"step": state.step, "opt_state": serialization.to_state_dict(state.opt_state)}
    return variables, _without_empty(training)


def from_checkpoint(
    template: TrainState, variables: dict[str, Any], training: dict[str, Any]
) -> TrainState:
    """Put restored arrays into the structure of `template` (of which only the shapes matter).

    Imported weights come without an optimizer's state: Adam's is all zeros before its first step.

    Raises:
        ValueError: a leaf is missing or has another shape.
    """
    structure = serialization.to_state_dict(template)
    optimizer = training.get("opt_state")
    if optimizer is None:
        optimizer = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), structure["opt_state"])
    saved = {
        "params": variables["params"],
        "batch_stats": variables.get("batch_stats", {}),
        "step": training["step"],
        "opt_state": optimizer,
    }
    restored = serialization.from_state_dict(template, _like(structure, saved, ""))
    return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), restored, template)


def _like(structure: Any, saved: Any, path: str) -> Any:
    """`saved` with the empty dictionaries of `structure` put back and every shape compared."""
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
