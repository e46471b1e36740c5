"""A model and its variables -> detections, for one batch or a stream of them.

`make_detect` compiles the whole way from pixels to matched pairs into one function. It returns
ActPoints only where an interaction was found, and nothing of the first stacks' heads, the glance's
or the earlier gaze steps' classifiers, so that the compiler leaves those out, unless heatmaps are
asked for: the paper removes them for testing (section 3.4).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import errors as flax_errors
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ggnet_jax import models
from ggnet_jax.errors import UserError
from ggnet_jax.inference import decoding
from ggnet_jax.inference.prefetch import one_ahead
from ggnet_jax.models.outputs import ActPoints, Outputs
from ggnet_jax.ops import gather_cells, gather_offsets, normalize_images
from ggnet_jax.ops.cpu_options import compiler_options
from ggnet_jax.run_dir import checkpoints
from ggnet_jax.run_dir import folder as run_folder
from ggnet_jax.vocabularies import Vocabulary

# What Flax says of weights that a network has no place for, or has not got.
_OTHER_NETWORK = (
    flax_errors.ScopeParamNotFoundError,
    flax_errors.ScopeParamShapeError,
    flax_errors.ScopeVariableNotFoundError,
)


class Found(NamedTuple):
    """Detections and how the network came to them; slots as in `detections`, lengths in map cells.

    Attributes:
        detections: `decoding.Detections`, [B, R] each.
        interaction_point: [B, R, 2] (x, y).
        human_target: [B, R, 2] where the interaction point's offset (APM) puts the person.
        object_target: [B, R, 2] where it puts the object.
        act_points: one a gaze step: position [B, R, K, 2] on the map, weight [B, R, K].
        heatmaps: [B, n, 1 + steps, h, w] probabilities of the verb of the first n slots after the
            glance and each gaze step; None unless asked for.
    """

    detections: decoding.Detections
    interaction_point: jax.Array
    human_target: jax.Array
    object_target: jax.Array
    act_points: tuple[ActPoints, ...]
    heatmaps: jax.Array | None = None


class Trained(NamedTuple):
    """All that inference needs of a run.

    Attributes:
        config: the run's resolved configuration.
        vocabulary: its classes.
        model: its network.
        variables: the weights, `{'params': ..., 'batch_stats': ...}`; NumPy arrays, `jax.Array`s
            or, before they are read, `jax.ShapeDtypeStruct`s.
        step: of the checkpoint they come from.
    """

    config: Any
    vocabulary: Vocabulary
    model: models.GGNet
    variables: Mapping[str, Any]
    step: int


def load(workdir: str | Path, step: checkpoints.Step = None, dtype: str | None = None) -> Trained:
    """Read a run's configuration, classes and weights, the last as NumPy arrays.

    Args:
        workdir: of the run.
        step: of the checkpoint; None for the newest, "best" for the chosen one.
        dtype: in which to convolve; None for the run's own.

    Raises:
        UserError: the folder holds no run or no such checkpoint.
    """
    return Trained(*_read_network(workdir, dtype), *checkpoints.load_variables(workdir, step))


def load_shapes(
    workdir: str | Path, step: checkpoints.Step = None, dtype: str | None = None
) -> Trained:
    """`load` without reading the weights: `variables` holds their shapes on the first device.

    That is enough to compile the network while `checkpoints.load_variables(onto=...)` reads them.

    Args:
        workdir: of the run.
        step: of the checkpoint.
        dtype: in which to convolve; None for the run's own.
    """
    config, vocabulary, model = _read_network(workdir, dtype)
    step = checkpoints.existing(workdir, step)
    shapes = checkpoints.variable_shapes(
        workdir, step, sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0])
    )
    return Trained(config, vocabulary, model, shapes, step)


def _read_network(
    workdir: str | Path, dtype: str | None = None
) -> tuple[Any, Vocabulary, models.GGNet]:
    config = run_folder.read_config(workdir)
    if dtype is not None:
        config.model["dtype"] = dtype
    vocabulary = Vocabulary.from_dict(run_folder.read_vocabulary(workdir))
    return config, vocabulary, models.create_model(config.model)


def make_detect(
    model: models.GGNet,
    *,
    top_k: int = 100,
    valid_pairs: np.ndarray | None = None,
    heatmaps: int = 0,
    mesh: Mesh | None = None,
) -> jax.stages.Wrapped:
    """Make the jitted function `detect(variables, images, boxes=None) -> Found`.

    Equal arguments give the same function, so that evaluating again and again while training
    compiles once.

    Args:
        model: from `models.create_model`.
        top_k: candidates of each kind per image.
        valid_pairs: [V, O] bool, the pairs that may be found; None for all.
        heatmaps: for so many of the best interactions the verb's heatmaps are returned as well;
            this computes all classifiers of the last stack.
        mesh: with an axis 'data', over whose devices each batch is sharded; None for one device.

    Returns:
        A jitted function. `images` is [B, H, W, 3], RGB, uint8 or floats in [0, 1]; `boxes` is
        what `decoding.decode` takes as `detections`, batched.
    """
    pairs = None
    if valid_pairs is not None:
        pairs = tuple(map(tuple, np.asarray(valid_pairs, bool).tolist()))
    key: Any = model  # hashable, as Flax makes its modules, though type checkers do not see it
    return _make_detect(key, top_k, pairs, heatmaps, mesh)


@lru_cache(maxsize=8)
def _make_detect(
    model: Any,
    top_k: int,
    valid_pairs: tuple[tuple[bool, ...], ...] | None,
    heatmaps: int,
    mesh: Mesh | None,
) -> jax.stages.Wrapped:
    pairs = None if valid_pairs is None else np.array(valid_pairs)
    detect = detect_function(model, top_k=top_k, valid_pairs=pairs, heatmaps=heatmaps)
    options = compiler_options(model.config.dtype)
    if mesh is None:
        return jax.jit(detect, compiler_options=options)
    sharded, replicated = PartitionSpec("data"), PartitionSpec()
    detect_shards = jax.shard_map(
        detect,
        mesh=mesh,
        in_specs=(replicated, sharded, sharded),
        out_specs=sharded,
        check_vma=False,
    )

    def detect_on_mesh(variables: Any, images: jax.Array, boxes: Any = None) -> Found:
        return detect_shards(variables, images, boxes)

    return jax.jit(detect_on_mesh, compiler_options=options)


def detect_function(
    model: models.GGNet, *, top_k: int, valid_pairs: np.ndarray | None, heatmaps: int
) -> Callable[..., Found]:
    """What `make_detect` compiles, with the same arguments."""

    def detect(variables: Any, images: jax.Array, boxes: Any = None) -> Found:
        images = normalize_images(images)
        try:
            outputs: Any = model.apply(variables, images, train=False)
        except _OTHER_NETWORK as error:
            raise UserError(
                "the weights are not of the network that the run's config.json describes: "
                f"{str(error).splitlines()[0].partition(' (https')[0]} Restore the config.json "
                "that it was trained with"
            ) from error
        last = outputs[-1]
        with jax.named_scope("decode"):
            found = decoding.decode(last, top_k=top_k, valid_pairs=valid_pairs, detections=boxes)
            return _look_up(last, found, heatmaps)

    return detect


def _look_up(outputs: Outputs, found: decoding.Detections, heatmaps: int) -> Found:
    """Read what the maps hold at the interaction points."""
    cell, verb = found.interaction_cell, found.verb
    point = decoding.cell_position(cell, outputs.object_logits.shape[2], jnp.float32)
    steps = tuple(
        ActPoints(
            gather_cells(step.position, cell) + point[:, :, None, :],
            gather_cells(step.weight, cell),
        )
        for step in outputs.act_points
    )
    maps = None
    if heatmaps:
        verbs = verb[:, None, None, :heatmaps]
        maps = [jnp.take_along_axis(v, verbs, axis=-1) for v in outputs.interaction_logits]
        maps = jnp.moveaxis(jax.nn.sigmoid(jnp.stack(maps, axis=1)), -1, 1)
    return Found(
        found,
        point,
        point - gather_offsets(outputs.human_offset, cell, verb),
        point - gather_offsets(outputs.object_offset, cell, verb),
        steps,
        maps,
    )


def local_mesh(batch_size: int) -> Mesh:
    """A mesh over this process's devices, to shard its part of a batch over.

    Raises:
        UserError: the batch cannot be sharded evenly over the devices.
    """
    devices = jax.local_devices()
    if batch_size % len(devices) or not batch_size:
        raise UserError(
            f"a batch of {batch_size} images per process cannot be sharded evenly over "
            f"{len(devices)} devices; set config.eval.batch_size to a multiple of "
            f"{jax.device_count()}"
        )
    return Mesh(np.array(devices), ("data",))


def detect_batches(
    detect: Callable[..., Found],
    variables: Any,
    batches: Iterable[Mapping[str, np.ndarray]],
    *,
    mesh: Mesh,
    boxes_of: Callable[[Mapping[str, np.ndarray]], Any] | None = None,
) -> Iterator[tuple[Mapping[str, np.ndarray], Found]]:
    """Run batches through a detector, the devices always one batch ahead of the host.

    Args:
        detect: from `make_detect(..., mesh=mesh)`.
        variables: of the model; copied to the devices once.
        batches: dictionaries with "image" [B, H, W, 3].
        mesh: the devices.
        boxes_of: batch -> `decode`'s `detections`, to use boxes from elsewhere.

    Yields:
        (batch, `Found` with NumPy arrays), in order.
    """
    variables = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
    sharded = NamedSharding(mesh, PartitionSpec("data"))

    def dispatched() -> Iterator[tuple[Mapping[str, np.ndarray], Found]]:
        for batch in batches:
            boxes = None if boxes_of is None else jax.device_put(boxes_of(batch), sharded)
            yield batch, detect(variables, jax.device_put(batch["image"], sharded), boxes)

    for batch, found in one_ahead(dispatched()):
        yield batch, jax.device_get(found)
