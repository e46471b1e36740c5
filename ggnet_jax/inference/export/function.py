"""The network as one function from named weights and images to named arrays."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import export

from ggnet_jax.inference import decoding, detection
from ggnet_jax.inference.detection import Found
from ggnet_jax.models.outputs import ActPoints

_POSITION, _WEIGHT = "act_points{}_position", "act_points{}_weight"  # by gaze step, from 1
_PLAIN = ("interaction_point", "human_target", "object_target")

Arrays = dict[str, Any]  # of JAX or NumPy


class NetworkFunction(NamedTuple):
    """The way from pixels to matched pairs, as `Detector.detect` goes it.

    Attributes:
        run: function of the two arguments below, for `jax.jit`; its result is `to_arrays`'s.
        weights: by their names in the network, "params.backbone.stem_conv.conv.kernel". Those of
            the first stacks' heads, which detection does not compute, are left out.
        images: shape of the other argument, uint8 [B, H, W, 3] with B any number.
    """

    run: Callable[[Arrays, jax.Array], Arrays]
    weights: dict[str, np.ndarray]
    images: jax.ShapeDtypeStruct

    def trace(self) -> jax.stages.Traced:
        """The function as a jaxpr, whose arguments are the weights by sorted names, and images."""
        shapes = {n: jax.ShapeDtypeStruct(w.shape, w.dtype) for n, w in self.weights.items()}
        return jax.jit(self.run).trace(shapes, self.images)


def network_function(trained: detection.Trained) -> NetworkFunction:
    """Make a network and its weights one function and named arrays."""
    config = trained.config
    detect = detection.detect_function(
        trained.model,
        top_k=config.eval.top_k,
        valid_pairs=trained.vocabulary.valid_pairs,
        heatmaps=0,
    )
    every: dict[str, Any] = traverse_util.flatten_dict(dict(trained.variables), sep=".")

    def run(weights: Arrays, images: jax.Array) -> Arrays:
        unused = {n: jnp.zeros(w.shape, w.dtype) for n, w in every.items() if n not in weights}
        variables = traverse_util.unflatten_dict({**weights, **unused}, sep=".")
        return to_arrays(detect(variables, images))

    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *config.data.image_size, 3), jnp.uint8)
    whole = NetworkFunction(run, every, images)
    names = sorted(every)
    used = _used_inputs(whole.trace().jaxpr.jaxpr)
    weights = {name: np.asarray(every[name]) for name, use in zip(names, used, strict=False) if use}
    return whole._replace(weights=weights)


def _used_inputs(jaxpr: Any) -> list[bool]:
    """Which arguments of a jaxpr its results depend on."""
    needed = set(map(id, jaxpr.outvars))
    for eqn in reversed(jaxpr.eqns):
        if any(id(out) in needed for out in eqn.outvars):
            needed |= set(map(id, eqn.invars))
    return [id(var) in needed for var in jaxpr.invars]


def to_arrays(found: Found) -> Arrays:
    """`Found` by names: those of `decoding.Detections`, of `Found`, and the ActPoints' by step."""
    arrays = found.detections._asdict() | {name: getattr(found, name) for name in _PLAIN}
    for step, points in enumerate(found.act_points, 1):
        arrays[_POSITION.format(step)] = points.position
        arrays[_WEIGHT.format(step)] = points.weight
    return arrays


def from_arrays(arrays: Mapping[str, Any]) -> Found:
    """The inverse of `to_arrays`."""
    steps = sum(name.startswith("act_points") for name in arrays) // 2
    return Found(
        decoding.Detections(*(arrays[name] for name in decoding.Detections._fields)),
        **{name: arrays[name] for name in _PLAIN},
        act_points=tuple(
            ActPoints(arrays[_POSITION.format(step)], arrays[_WEIGHT.format(step)])
            for step in range(1, steps + 1)
        ),
    )
