"""--mode=evaluate: the predictions of a split, scored by its data set's protocol."""

import dataclasses
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ggnet_jax import io
from ggnet_jax.cli.predict_split import predict_split, remove_partial
from ggnet_jax.cli.processes import wait_for_all
from ggnet_jax.dataset import DataPipelines, Dataset
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import command, hico, vcoco
from ggnet_jax.evaluation.results import Result
from ggnet_jax.inference import detection
from ggnet_jax.run_dir import folder as run_folder
from ggnet_jax.run_dir.checkpoints import steps as saved_steps
from ggnet_jax.run_dir.folder import EVALUATION
from ggnet_jax.vocabularies import Vocabulary
from ggnet_jax.vocabularies import load as load_vocabulary

PREDICTIONS = "predictions.json"
HICO = {"hico": "no_frills", "hico_ppdm": "ppdm"}  # eval.protocol -> that of `hico.evaluate`


def evaluate(
    config: Any, workdir: str | Path, step: int | None = None, *, data: DataPipelines
) -> dict[str, float]:
    """Predict the evaluation split with a checkpoint and score the predictions.

    Writes `predictions.json` (PPDM's format), `metrics.json`, `table.txt` and a plot of AP by class
    into `results_folder`, and prints the table. If it is interrupted and called again, the images
    that are done are not predicted again.

    Args:
        config: resolved; its `data` and `eval` fields are used, the network is the run's own.
        workdir: of the run.
        step: of the checkpoint; None for the newest.
        data: where the split comes from.

    Returns:
        {"mAP/<setting>/<group>": percent}, empty in all processes but the first.

    Raises:
        UserError: no run or checkpoint, a data set with other classes than the run's or the
            protocol's, or a folder that cannot be written.
    """
    try:
        return _evaluate(config, workdir, step, data)
    except OSError as error:  # a full disk, say
        where = error.filename or results_folder(config, workdir, step)
        raise UserError(
            f"the evaluation stopped at {where}: {error.strerror or error}; the images that are "
            "done are not predicted again"
        ) from error


def _evaluate(
    config: Any, workdir: str | Path, step: int | None, data: DataPipelines
) -> dict[str, float]:
    trained = detection.load(workdir, step)
    dataset = data.load_dataset(config.data, training=False)
    check_vocabulary(trained.vocabulary, dataset.vocabulary, workdir)
    check_protocol(config, dataset.vocabulary)
    truth = dataset.ground_truth(config.data.eval_split)
    folder = results_folder(config, workdir, trained.step)
    first = jax.process_index() == 0
    # Before the long part: a file may be missing.
    score = scorer(truth, dataset, config) if first else None
    entries = predict_split(trained, data, dataset, config, truth, folder)
    summary: dict[str, float] = {}
    if score is not None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / PREDICTIONS
        io.write_json(path, entries, depth=1)
        result = score(entries)
        done = f"checkpoint of step {trained.step}, {len(entries)} images"
        result = dataclasses.replace(result, notes=(done, *result.notes))
        print(f"\n{result.table()}")
        for written in (path, *command.write(result, folder)):
            print(f"wrote {written}")
        remove_partial(folder)
        summary = {
            f"mAP/{setting}/{group}": 100 * value
            for setting, means in result.means.items()
            for group, value in means.items()
            if np.isfinite(value)
        }
    wait_for_all("evaluation written")
    return summary


_SET = {  # what an evaluation is of, beside the checkpoint
    "data": (
        "name", "vocabulary", "figures", "image_size", "eval_split", "eval_annotations",
        "eval_images", "eval_instances", "eval_origin",
    ),
    "eval": ("protocol", "top_k", "detections"),
}  # fmt: skip
_NAMING = ("data.name", "data.eval_annotations", "data.eval_split", "eval.protocol",
           "eval.detections")  # fmt: skip


def results_folder(config: Any, workdir: str | Path, step: int | None) -> Path:
    """Where the results of an evaluation lie, so that another one does not overwrite them.

    Args:
        config: of the evaluation.
        workdir: of the run.
        step: of the checkpoint; None for the newest.

    Returns:
        `<workdir>/evaluation` for the newest checkpoint on the run's own evaluation split by its
        own protocol, which every evaluation during training brings up to date. Anything else has a
        folder inside, named after what differs: `step_1000`, or `test_hico-1f2e3d4c` for other
        annotations; the digits tell settings apart that have the same names.
    """
    folder = Path(workdir) / EVALUATION
    own = run_folder.read_config(workdir)
    changed: dict[str, Any] = {}
    for section, fields in _SET.items():
        ours, theirs = own.get(section, {}), getattr(config, section)
        for field in fields:
            if field in ours and hasattr(theirs, field):
                before, now = (_settled(values) for values in (ours[field], getattr(theirs, field)))
                if before != now:
                    changed[f"{section}.{field}"] = now
    parts = [_short(changed[name]) for name in _NAMING if name in changed]
    if changed:
        parts.append(f"{zlib.crc32(repr(sorted(changed.items())).encode()):08x}")
    steps = saved_steps(workdir)
    if step is not None and steps and step != max(steps):
        parts.append(f"step_{step}")
    return folder / "-".join(parts) if parts else folder


def _settled(value: Any) -> Any:
    """A field's value, equal for equal meanings: lists and tuples, relative and whole paths."""
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")]
        return [str(Path(part).resolve()) if "/" in part or "." in part else part for part in parts]
    if hasattr(value, "items"):
        return {name: _settled(one) for name, one in value.items()}
    return [_settled(one) for one in value] if isinstance(value, list | tuple) else value


def _short(value: Sequence[str]) -> str:
    """A few letters for a folder's name."""
    name = Path(value[0]).name.removesuffix(".gz")
    return re.sub(r"[^\w.-]+", "_", re.sub(r"\.jsonl?$", "", name))[:40]


def check_protocol(config: Any, vocabulary: Vocabulary) -> None:
    """Raise a UserError where a data set cannot be scored by `config.eval.protocol`.

    HICO-DET's protocols take any classes. V-COCO's knows its own verb-roles alone.
    """
    if config.eval.protocol != "vcoco":
        return
    v_coco = load_vocabulary("v_coco")
    for what, names, ids in (
        ("verb", "verbs", "verb_ids"),
        ("object", "objects", "object_ids"),
    ):
        known = dict(zip(getattr(v_coco, names), getattr(v_coco, ids), strict=True))
        for name, number in zip(getattr(vocabulary, names), getattr(vocabulary, ids), strict=True):
            if known.get(name) != number:
                raise UserError(
                    f"eval.protocol=vcoco is for V-COCO's classes, and the data set "
                    f"{vocabulary.name!r} has the {what} {name!r} with id {number}, which V-COCO "
                    "has not; use eval.protocol=hico, which scores any classes"
                )


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


def scorer(
    truth: Sequence[Mapping[str, Any]], dataset: Dataset, config: Any
) -> Callable[[Sequence[Mapping[str, Any]]], Result]:
    """What scores prediction entries by `config.eval.protocol`, with its ground truth read.

    HICO-DET has two protocols, "hico" (Default and Known Object) and "hico_ppdm". V-COCO's
    scenarios need its own annotation, so they are given where the split was built from that, for
    the images of the split; where there are only pair lists, PPDM's figure is given. (What was
    malformed was refused, or accepted, when the data set was built.)

    Raises:
        UserError: there is no such protocol, or a file that it needs can't be read.
    """
    protocol = config.eval.protocol
    if protocol in HICO:
        split = getattr(config.data, "zero_shot", "")
        return lambda entries: hico.evaluate(
            entries,
            truth,
            dataset.vocabulary,
            protocol=HICO[protocol],
            groups=(split,) if split else (),
            accept_losses=True,
        )
    if protocol != "vcoco":
        raise UserError(f"eval.protocol is {protocol!r}; it can be {', '.join(HICO)} or vcoco")
    original = dataset.vcoco_annotations(config.data.eval_split, truth)
    if original is None:
        return lambda entries: vcoco.evaluate(entries, truth, accept_losses=True)
    actions, instances = original
    return lambda entries: vcoco.evaluate(entries, actions, instances)
