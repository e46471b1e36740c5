"""The interactions of a whole split, batch by batch over all processes.

Every process appends what it found to a file of its own, a line an image, so that an evaluation
that was interrupted goes on where it was. The first process puts the lines together.
"""

import contextlib
import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from ggnet_jax import io
from ggnet_jax.cli.processes import wait_for_all
from ggnet_jax.dataset import Batch, DataPipelines, Dataset
from ggnet_jax.errors import UserError
from ggnet_jax.inference import detection
from ggnet_jax.inference.decoding import BoxDetections
from ggnet_jax.inference.external_detections import ExternalDetections
from ggnet_jax.inference.interactions import to_prediction_entry
from ggnet_jax.progress import progress_bar

_PARTIAL = "partial_"  # prefix of the folder that holds an evaluation under way


def predict_split(
    trained: detection.Trained,
    data: DataPipelines,
    dataset: Dataset,
    config: Any,
    truth: Sequence[Mapping[str, Any]],
    folder: str | Path,
) -> list[dict[str, Any]]:
    """Prediction entries of every image of the evaluation split, in its order.

    Args:
        trained: network and weights.
        data: gives the batches.
        dataset: whose evaluation split is predicted.
        config: resolved.
        truth: the split's entries, for file names; entry k is image k's.
        folder: where the lines are kept until they are complete.

    Returns:
        Entries as in `interactions.to_prediction_entry`; an empty list in all processes but the
        first.
    """
    process, processes = jax.process_index(), jax.process_count()
    split = config.data.eval_split
    input_size = tuple(config.data.image_size)
    partial = Path(folder) / (_PARTIAL + fingerprint(trained, config, truth))
    partial.mkdir(parents=True, exist_ok=True)
    done = read_lines(partial)
    mesh = detection.local_mesh(config.eval.batch_size // processes)
    detect = detection.make_detect(
        trained.model,
        top_k=config.eval.top_k,
        valid_pairs=trained.vocabulary.valid_pairs,
        mesh=mesh,
    )
    external, boxes_of = None, None
    if config.eval.detections:
        external = ExternalDetections.read(config.eval.detections, trained.vocabulary, truth)
        boxes_of = _boxes_of(external, input_size)
    batches = data.eval_batches(
        dataset, config, split, process_index=process, process_count=processes
    )
    path = partial / f"process_{process}.jsonl"
    io.repair_log(path)
    bar = progress_bar(
        total=-(-dataset.num_eval // processes),
        desc="evaluate",
        unit="image",
        disable=process != 0,
    )
    with _resumable(path), bar, open(path, "a", encoding="utf-8") as lines:
        todo = _unfinished(batches, done, bar)
        for batch, found in detection.detect_batches(
            detect, trained.variables, todo, mesh=mesh, boxes_of=boxes_of
        ):
            rows = [row for row in _real(batch) if int(batch["image_id"][row]) not in done]
            for row in rows:
                image_id = int(batch["image_id"][row])
                width, height = (int(v) for v in batch["size"][row])
                entry = to_prediction_entry(
                    found.detections,
                    row,
                    trained.vocabulary,
                    file_name=truth[image_id]["file_name"],
                    width=width,
                    height=height,
                    input_size=input_size,
                )
                lines.write(json.dumps({"image_id": image_id, "entry": entry}) + "\n")
            lines.flush()
            bar.update(len(rows))
    for note in external.notes() if external else ():
        print(note)
    wait_for_all("images predicted")
    if process:
        return []
    done = read_lines(partial)
    missing = sorted(set(range(dataset.num_eval)) - set(done))
    if missing:
        raise UserError(
            f"{len(missing)} images of {split!r} have no prediction in {partial} (the first is "
            f"number {missing[0]}); all processes must see the same workdir"
        )
    return [done[image_id] for image_id in range(dataset.num_eval)]


@contextlib.contextmanager
def _resumable(path: Path) -> Iterator[None]:
    """Around the writing of lines: an early end says that nothing is lost."""
    kept = "the same command goes on from what is predicted so far"
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; {kept}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(kept) from None


def fingerprint(trained: detection.Trained, config: Any, truth: Sequence[Mapping]) -> str:
    """A name for everything that predictions depend on, weights included.

    Lines that were written with another checkpoint, split or setting are never mixed in.
    """
    total = zlib.crc32(
        repr(
            (
                [entry["file_name"] for entry in truth],
                tuple(config.data.image_size),
                config.eval.top_k,
                trained.vocabulary,
                trained.model.config.dtype,
            )
        ).encode()
    )
    if config.eval.detections and Path(config.eval.detections).is_file():
        total = zlib.crc32(Path(config.eval.detections).read_bytes(), total)
    for leaf in jax.tree.leaves(trained.variables):
        total = zlib.crc32(np.ascontiguousarray(leaf).data, total)
    return f"{trained.step}_{total:08x}"


def read_lines(folder: str | Path) -> dict[int, dict[str, Any]]:
    """Entries by image from the lines of all processes."""
    return {
        record["image_id"]: record["entry"]
        for path in sorted(Path(folder).glob("process_*.jsonl"))
        for record in io.read_log(path)
    }


def _real(batch: Batch) -> np.ndarray:
    """Rows of a batch that are images and not padding."""
    return np.flatnonzero(batch["example_weight"] > 0)


def _unfinished(batches: Iterable[Batch], done: Mapping[int, Any], bar: tqdm) -> Iterator[Batch]:
    """The batches that hold an image which has no line yet."""
    for batch in batches:
        ids = [int(batch["image_id"][row]) for row in _real(batch)]
        bar.update(sum(image_id in done for image_id in ids))
        if any(image_id not in done for image_id in ids):
            yield batch


def _boxes_of(
    external: ExternalDetections, input_size: tuple[int, int]
) -> Callable[[Batch], BoxDetections]:
    return lambda batch: external.batch(batch["image_id"], batch["size"], input_size)


def remove_partial(folder: str | Path) -> None:
    """Drop the lines of evaluations that are complete or were given up."""
    for partial in Path(folder).glob(f"{_PARTIAL}*"):
        shutil.rmtree(partial)
