"""--mode=evaluate: batched inference over a split, predictions as JSON, tables at the end.

Every process works off its share of the split and appends what it found to a file of its own, a
line a picture, so that an evaluation that was interrupted goes on where it was. The first process
puts the lines together and scores them.
"""

import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

import data_pipelines
from data_pipelines.v_coco import vsrl
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import command, hico, vcoco
from ggnet_jax.evaluation.reading import load_json
from ggnet_jax.evaluation.results import Result
from ggnet_jax.inference import detection
from ggnet_jax.inference.decoding import BoxDetections
from ggnet_jax.inference.external_detections import OutsideBoxes
from ggnet_jax.inference.interactions import to_prediction_entry
from ggnet_jax.vocabularies import Vocabulary

FOLDER = "evaluation"
PREDICTIONS = "predictions.json"
HICO = {"hico": "ho_rcnn", "hico_ppdm": "ppdm"}  # eval.protocol -> that of `hico.evaluate`
_PARTIAL = "partial_"  # prefix of the folder that holds an evaluation under way

Batch = Mapping[str, np.ndarray]


def evaluate(config: Any, workdir: str | Path, step: int | None = None) -> dict[str, float]:
    """Predict the evaluation split with a checkpoint and score the predictions.

    Writes `<workdir>/evaluation/predictions.json` (PPDM's format), `metrics.json`, `table.txt`
    and a plot of AP by class, and prints the table. If it is interrupted and called again, the
    pictures that are done are not predicted again.

    Args:
        config: resolved; its `data` and `eval` fields are used, the network is the run's own.
        workdir: of the run.
        step: of the checkpoint; None for the newest.

    Returns:
        {"mAP/<setting>/<group>": percent}, empty in all processes but the first.

    Raises:
        UserError: no run or checkpoint, or a data set with other classes than the run's.
    """
    trained = detection.load(workdir, step)
    dataset = data_pipelines.load_dataset(config.data, training=False)
    check_vocabulary(trained.vocabulary, dataset.vocabulary, workdir)
    truth = dataset.ground_truth(config.data.eval_split)
    folder = Path(workdir) / FOLDER
    if jax.process_index() == 0:
        score = scorer(truth, dataset, config)  # before the long part: a file may be missing
    entries = predict_split(trained, dataset, config, truth, folder)
    figures: dict[str, float] = {}
    if jax.process_index() == 0:
        path = write_predictions(entries, folder / PREDICTIONS)
        result = score(entries)
        print(f"\ncheckpoint of step {trained.step}, {len(entries)} pictures\n\n{result.table()}")
        for written in (path, *command.write(result, folder)):
            print(f"wrote {written}")
        for partial in folder.glob(f"{_PARTIAL}*"):
            shutil.rmtree(partial)
        figures = {
            f"mAP/{setting}/{group}": 100 * value
            for setting, means in result.means.items()
            for group, value in means.items()
            if np.isfinite(value)
        }
    _wait("evaluation written")
    return figures


def check_vocabulary(ours: Vocabulary, theirs: Vocabulary, workdir: str | Path) -> None:
    """Raise a UserError unless a data set has the classes that a run was trained with."""
    for what in ("verbs", "objects"):
        a, b = getattr(ours, what), getattr(theirs, what)
        if a != b:
            other = next((f"{x!r}, not {y!r}" for x, y in zip(a, b, strict=False) if x != y), "")
            raise UserError(
                f"the run in {workdir} knows {len(a)} {what}, the data set {theirs.name!r} has "
                f"{len(b)}{' (' + other + ')' if other else ''}; evaluate on data with the run's "
                "classes"
            )


def predict_split(
    trained: detection.Trained,
    dataset: Any,
    config: Any,
    truth: Sequence[Mapping[str, Any]],
    folder: str | Path,
) -> list[dict[str, Any]]:
    """Prediction entries of every picture of the evaluation split, in its order.

    Args:
        trained: network and weights.
        dataset: from `data_pipelines.load_dataset`.
        config: resolved.
        truth: the split's entries, for file names; entry k is picture k's.
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
    boxes_of = None
    if config.eval.detections:
        outside = OutsideBoxes.read(config.eval.detections, trained.vocabulary, truth)
        boxes_of = _boxes_of(outside, input_size)
    batches = data_pipelines.eval_batches(
        dataset, config, split, process_index=process, process_count=processes
    )
    path = partial / f"process_{process}.jsonl"
    mend(path)
    bar = tqdm(
        total=-(-dataset.num_eval // processes),
        desc="evaluate",
        unit="picture",
        dynamic_ncols=True,
        disable=process != 0,
    )
    with bar, open(path, "a", encoding="utf-8") as lines:
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
    _wait("pictures predicted")
    if process:
        return []
    done = read_lines(partial)
    missing = sorted(set(range(dataset.num_eval)) - set(done))
    if missing:
        raise UserError(
            f"{len(missing)} pictures of {split!r} have no prediction in {partial} (the first is "
            f"number {missing[0]}); all processes must see the same workdir"
        )
    return [done[image_id] for image_id in range(dataset.num_eval)]


def scorer(
    truth: Sequence[Mapping[str, Any]], dataset: Any, config: Any
) -> Callable[[Sequence[Mapping[str, Any]]], Result]:
    """What scores prediction entries by `config.eval.protocol`, with its ground truth read.

    HICO-DET has two protocols, "hico" (Default and Known Object) and "hico_ppdm". V-COCO's
    scenarios need its own annotation, so they are given where the split was built from that, for
    the pictures of the split; where there are only pair lists, PPDM's figure is given.

    Raises:
        UserError: there is no such protocol, or a file that it needs can't be read.
    """
    protocol = config.eval.protocol
    if protocol in HICO:
        return lambda entries: hico.evaluate(
            entries, truth, dataset.vocabulary, protocol=HICO[protocol]
        )
    if protocol != "vcoco":
        raise UserError(f"eval.protocol is {protocol!r}; it can be {', '.join(HICO)} or vcoco")
    official = [source for source in dataset.sources(config.data.eval_split) if source["instances"]]
    files = [load_json(source["annotations"]) for source in official]
    if not files or not all(map(vsrl.is_vsrl, files)):
        return lambda entries: vcoco.evaluate(entries, truth)
    actions = vsrl.select(files, {entry["img_id"] for entry in truth})
    paths = dict.fromkeys(path for source in official for path in source["instances"])
    instances = vsrl.read_instances(list(paths))
    return lambda entries: vcoco.evaluate(entries, actions, instances)


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
            )
        ).encode()
    )
    if config.eval.detections and Path(config.eval.detections).is_file():
        total = zlib.crc32(Path(config.eval.detections).read_bytes(), total)
    for leaf in jax.tree.leaves(trained.variables):
        total = zlib.crc32(np.ascontiguousarray(leaf), total)
    return f"{trained.step}_{total:08x}"


def read_lines(folder: str | Path) -> dict[int, dict[str, Any]]:
    """Entries by picture from the lines of all processes; a line that is cut off is left out."""
    done = {}
    for path in sorted(Path(folder).glob("process_*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
                done[int(record["image_id"])] = record["entry"]
            except (ValueError, TypeError, KeyError):
                continue
    return done


def mend(path: str | Path) -> None:
    """Cut off the last line of a file if the process that wrote it was killed inside of it."""
    path = Path(path)
    if path.exists():
        text = path.read_bytes()
        if text and not text.endswith(b"\n"):
            os.truncate(path, text.rfind(b"\n") + 1)


def write_predictions(entries: Iterable[Mapping[str, Any]], path: str | Path) -> Path:
    """Write entries as a JSON list, one a line; the file is whole or not there."""
    path = Path(path)
    draft = path.with_name(path.name + ".unfinished")
    with open(draft, "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n")
    os.replace(draft, path)
    return path


def _real(batch: Batch) -> np.ndarray:
    """Rows of a batch that are pictures and not padding."""
    return np.flatnonzero(batch["example_weight"] > 0)


def _unfinished(batches: Iterable[Batch], done: Mapping[int, Any], bar: tqdm) -> Iterator[Batch]:
    """The batches that hold a picture which has no line yet."""
    for batch in batches:
        ids = [int(batch["image_id"][row]) for row in _real(batch)]
        bar.update(sum(image_id in done for image_id in ids))
        if any(image_id not in done for image_id in ids):
            yield batch


def _boxes_of(
    outside: OutsideBoxes, input_size: tuple[int, int]
) -> Callable[[Batch], BoxDetections]:
    return lambda batch: outside.batch(batch["image_id"], batch["size"], input_size)


def _wait(what: str) -> None:
    """Let all processes come to the same place."""
    if jax.process_count() > 1:
        sys.stdout.flush()
        multihost_utils.sync_global_devices(what)
