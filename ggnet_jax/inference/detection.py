"""A model and its variables -> detections, for one batch or a stream of them.

`make_detect` compiles the whole way from pixels to matched pairs into one function. It returns
ActPoints only where an interaction was found, and nothing of the first stacks' heads, the glance's
or the earlier gaze steps' classifiers, so that the compiler leaves those out: the paper removes
them for testing (section 3.4).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ggnet_jax import models
from ggnet_jax.errors import UserError
from ggnet_jax.inference import decoding
from ggnet_jax.models.outputs import ActPoints, Outputs
from ggnet_jax.ops import gather_cells, gather_offsets, normalize_images
from ggnet_jax.run_dir import checkpoints
from ggnet_jax.run_dir import folder as workdir
from ggnet_jax.vocabularies import Vocabulary


class Found(NamedTuple):
    """Detections and how the network came to them; slots as in `detections`, lengths in map cells.

    Attributes:
        detections: `decoding.Detections`, [B, K'] each.
        interaction_point: [B, K', 2] (x, y).
        human_target: [B, K', 2] where the interaction point's offset (APM) puts the person.
        object_target: [B, K', 2] where it puts the object.
        act_points: one a gaze step: position [B, K', K, 2] on the map, weight [B, K', K].
        heatmaps: [B, n, 1 + steps, h, w] probabilities of the verb of the first n slots after the
            glance and each gaze step; None unless asked for.
    """

    detections: decoding.Detections
    interaction_point: jax.Array
    human_target: jax.Array
    object_target: jax.Array
    act_points: tuple[ActPoints, ...]
    heatmaps: jax.Array | None = None


DetectFn = Callable[..., Found]


class Trained(NamedTuple):
    """All that inference needs of a run."""

    config: Any
    vocabulary: Vocabulary
    model: models.GGNet
    variables: Mapping[str, Any]
    step: int


def load(
    folder: str | Path,
    step: int | None = None,
    *,
    device: jax.Device | None = None,
    heatmaps: int | None = None,
) -> Trained:
    """Read a run's configuration, classes and weights from its workdir.

    Args:
        folder: the workdir.
        step: of the checkpoint; None for the newest.
        device: for the weights; None leaves them on the host, as NumPy arrays.
        heatmaps: with a device, compile for single pictures while the weights are read. The
            function that `make_detect` gives for this network with as many heatmaps (or
            `config.eval.top_k`, if that is less) and without a mesh is then ready.

    Raises:
        UserError: the folder holds no run or no such checkpoint.
    """
    config = workdir.read_config(folder)
    vocabulary = Vocabulary.from_dict(workdir.read_vocabulary(folder))
    model = models.create_model(config.model)
    if device is None:
        return Trained(config, vocabulary, model, *checkpoints.load_variables(folder, step))
    step = checkpoints.existing(folder, step)  # the same for both, should a newer one appear
    shapes = checkpoints.variable_shapes(folder, step, device=device)
    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(checkpoints.load_variables, folder, step, onto=shapes)
        if heatmaps is not None:
            detect = make_detect(
                model,
                top_k=config.eval.top_k,
                valid_pairs=vocabulary.valid_pairs,
                heatmaps=min(heatmaps, config.eval.top_k),
            )
            size = tuple(config.data.image_size)
            detect.lower(shapes, jax.ShapeDtypeStruct((1, *size, 3), jnp.uint8)).compile()
        variables, _ = reading.result()
    return Trained(config, vocabulary, model, variables, step)


def make_detect(
    model: models.GGNet,
    *,
    top_k: int = 100,
    valid_pairs: np.ndarray | None = None,
    heatmaps: int = 0,
    mesh: Mesh | None = None,
) -> DetectFn:
    """Compile `detect(variables, images, boxes=None) -> Found`.

    Equal arguments give the same function, so that evaluating again and again while training
    compiles once.

    Args:
        model: from `models.create_model`.
        top_k: candidates of each kind per picture.
        valid_pairs: [V, O] bool, the pairs that may be found; None for all.
        heatmaps: for so many of the best interactions the verb's heatmaps are returned as well;
            this computes all classifiers of the last stack.
        mesh: with an axis 'data', over whose devices each batch is divided; None for one device.

    Returns:
        A jitted function. `images` is [B, H, W, 3], RGB, uint8 or floats in [0, 1]; `boxes` is
        what `decoding.decode` takes as `detections`, batched.
    """
    pairs = None
    if valid_pairs is not None:
        pairs = tuple(map(tuple, np.asarray(valid_pairs, bool).tolist()))
    return _make_detect(model, top_k, pairs, heatmaps, mesh)


@lru_cache(maxsize=8)
def _make_detect(
    model: models.GGNet,
    top_k: int,
    valid_pairs: tuple[tuple[bool, ...], ...] | None,
    heatmaps: int,
    mesh: Mesh | None,
) -> DetectFn:
    pairs = None if valid_pairs is None else np.array(valid_pairs)

    def detect(variables: Any, images: jax.Array, boxes: Any = None) -> Found:
        images = normalize_images(images)
        last = model.apply(variables, images, train=False)[-1]
        with jax.named_scope("decode"):
            found = decoding.decode(last, top_k=top_k, valid_pairs=pairs, detections=boxes)
            return _look_up(last, found, heatmaps)

    if mesh is None:
        return jax.jit(detect)
    one, shared = PartitionSpec("data"), PartitionSpec()
    divided = jax.shard_map(
        detect, mesh=mesh, in_specs=(shared, one, one), out_specs=one, check_vma=False
    )

    def detect_on_mesh(variables: Any, images: jax.Array, boxes: Any = None) -> Found:
        return divided(variables, images, boxes)

    return jax.jit(detect_on_mesh)


def _look_up(outputs: Outputs, found: decoding.Detections, heatmaps: int) -> Found:
    """Read what the maps hold at the interaction points."""
    cell, verb = found.interaction_cell, found.verb
    width = outputs.object_logits.shape[2]
    point = jnp.stack([cell % width, cell // width], axis=-1).astype(jnp.float32)
    steps = tuple(
        ActPoints(
            gather_cells(step.position, cell) + point[:, :, None, :],
            gather_cells(step.weight, cell),
        )
        for step in outputs.act_points
    )
    maps = None
    if heatmaps:
        wanted = verb[:, None, None, :heatmaps]
        maps = [jnp.take_along_axis(v, wanted, axis=-1) for v in outputs.interaction_logits]
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
    """A mesh over this process's devices, among which a batch is shared out.

    Raises:
        UserError: the devices can't share out the batch evenly.
    """
    devices = jax.local_devices()
    if batch_size % len(devices) or not batch_size:
        raise UserError(
            f"a batch of {batch_size} pictures a process can't be shared out to {len(devices)} "
            f"devices; set eval.batch_size to a multiple of {jax.device_count()}"
        )
    return Mesh(np.array(devices), ("data",))


def detect_batches(
    detect: DetectFn,
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
    divided = NamedSharding(mesh, PartitionSpec("data"))
    ahead: tuple[Mapping[str, np.ndarray], Found] | None = None
    for batch in batches:
        boxes = None if boxes_of is None else jax.device_put(boxes_of(batch), divided)
        found = detect(variables, jax.device_put(batch["image"], divided), boxes)
        if ahead is not None:
            yield ahead[0], jax.device_get(ahead[1])
        ahead = (batch, found)
    if ahead is not None:
        yield ahead[0], jax.device_get(ahead[1])
