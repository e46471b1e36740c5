"""--mode=evaluate: the predictions of a split, scored by its data set's protocol."""

import dataclasses
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ggnet_jax import io
from ggnet_jax.cli.predict_split import predict_split, remove_partial
from ggnet_jax.cli.processes import wait_for_all
from ggnet_jax.dataset import VALIDATION, DataPipelines, Dataset
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import command, hico, vcoco
from ggnet_jax.evaluation.diagnosis import Matched
from ggnet_jax.evaluation.results import Result
from ggnet_jax.inference import detection
from ggnet_jax.run_dir import best
from ggnet_jax.run_dir import folder as run_folder
from ggnet_jax.run_dir.checkpoints import Step, existing
from ggnet_jax.run_dir.checkpoints import steps as saved_steps
from ggnet_jax.run_dir.folder import EVALUATION
from ggnet_jax.vocabularies import Vocabulary
from ggnet_jax.vocabularies import load as load_vocabulary

PREDICTIONS = "predictions.json"
HICO = {"hico": "no_frills", "hico_ppdm": "ppdm"}  # eval.protocol -> that of `hico.evaluate`


class Scored(NamedTuple):
    """An evaluation.

    Attributes:
        metrics: {"mAP/<setting>/<group>": percent} of those that have a value.
        entries: the predictions, in PPDM's format, image by image.
        dataset: what was predicted.
        match: gives the matches behind the first setting's figures.
    """

    metrics: dict[str, float]
    entries: list[dict[str, Any]]
    dataset: Dataset
    match: Callable[[], Matched]


def evaluate(
    config: Any, workdir: str | Path, step: Step = None, *, data: DataPipelines
) -> dict[str, float]:
    """The metrics of `score`; empty in all processes but the first."""
    scored = score(config, workdir, step, data=data)
    return scored.metrics if scored is not None else {}


def score(
    config: Any, workdir: str | Path, step: Step = None, *, data: DataPipelines
) -> Scored | None:
    """Predict the evaluation split with a checkpoint and score the predictions.

    Writes `predictions.json` (PPDM's format), `metrics.json`, `table.txt` and a plot of AP by class
    into `results_folder`, and prints the table. If it is interrupted and called again, the images
    that are done are not predicted again.

    Args:
        config: resolved; its `data` and `eval` fields are used and `model.dtype`, the network is
            otherwise the run's own.
        workdir: of the run.
        step: of the checkpoint; None for the newest, "best" for the chosen one.
        data: where the split comes from.

    Returns:
        What was found; None in all processes but the first.

    Raises:
        UserError: no run or checkpoint, nothing to evaluate on, a data set with other classes than
            the run's or the protocol's, or a folder that cannot be written.
    """
    try:
        return _score(config, workdir, step, data)
    except OSError as error:  # a full disk, say
        where = error.filename or results_folder(config, workdir, step)
        raise UserError(
            f"the evaluation stopped at {where}: {error.strerror or error}; the images that are "
            "done are not predicted again"
        ) from error


def _score(config: Any, workdir: str | Path, step: Step, data: DataPipelines) -> Scored | None:
    trained = detection.load(workdir, step, config.model.dtype)
    dataset = data.load_dataset(config.data, training=False)
    check_vocabulary(trained.vocabulary, dataset.vocabulary, workdir)
    check_protocol(config, dataset.vocabulary)
    check_split(dataset)
    truth = dataset.ground_truth(config.data.eval_split)
    folder = results_folder(config, workdir, trained.step)
    first = jax.process_index() == 0
    # Before the long part: a file may be missing.
    rate = _rater(truth, dataset, config) if first else None
    entries = predict_split(trained, data, dataset, config, truth, folder)
    scored = None
    if rate is not None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / PREDICTIONS
        io.write_json(path, entries, depth=1)
        result, match = rate(entries)
        chosen = best.summary(workdir, trained.step)
        done = f"checkpoint of step {trained.step}, {len(entries)} images"
        if config.data.eval_split == VALIDATION:
            done += " of the validation split"
        about = {
            "checkpoint": {"step": trained.step, "chosen": chosen},
            "split": config.data.eval_split,
        }
        notes = (done, *([chosen_by(chosen)] if chosen else []), *result.notes)
        result = dataclasses.replace(result, notes=notes, about=about)
        print(f"\n{result.table()}")
        for written in (path, *command.write(result, folder)):
            print(f"wrote {written}")
        remove_partial(folder)
        scored = Scored(_percent(result), entries, dataset, match)
    wait_for_all("evaluation written")
    return scored


def _percent(result: Result) -> dict[str, float]:
    return {
        f"mAP/{setting}/{group}": 100 * value
        for setting, means in result.means.items()
        for group, value in means.items()
        if np.isfinite(value)
    }


def chosen_by(chosen: Mapping[str, Any]) -> str:
    """One line on how a checkpoint was chosen."""
    return (
        f"the best of {chosen['evaluations']} evaluated checkpoints by {chosen['metric']}, "
        f"{chosen['value']:.2f} on the validation split {chosen['split']} "
        f"({chosen['images']} images)"
    )


_VALIDATION = ("val_split", "val_seed", "val_annotations", "val_images", "val_instances",
               "val_origin")  # fmt: skip
_SET = {  # what an evaluation is of, beside the checkpoint
    "data": (
        "name", "vocabulary", "figures", "image_size", "eval_split", "eval_annotations",
        "eval_images", "eval_instances", "eval_origin",
    ),
    "eval": ("protocol", "top_k", "detections"),
}  # fmt: skip
_NAMING = ("data.name", "data.eval_annotations", "data.eval_split", "eval.protocol",
           "eval.detections")  # fmt: skip


def results_folder(config: Any, workdir: str | Path, step: Step) -> Path:
    """Where the results of an evaluation lie, so that another one does not overwrite them.

    Args:
        config: of the evaluation.
        workdir: of the run.
        step: of the checkpoint; None for the newest, "best" for the chosen one.

    Returns:
        `<workdir>/evaluation` for the run's own checkpoint (the best, if it chooses one, else the
        newest) on the run's own evaluation split by its own protocol. Anything else has a folder
        inside, named after what differs: `val` for the newest checkpoint on the validation split,
        which every evaluation during training brings up to date, `step_1000`, or
        `test_hico-1f2e3d4c` for other annotations; the digits tell settings apart that have the
        same names.
    """
    folder = Path(workdir) / EVALUATION
    own = run_folder.read_config(workdir)
    validation = config.data.eval_split == VALIDATION
    changed: dict[str, Any] = {}
    for section, fields in _SET.items():
        if section == "data" and validation:
            fields = (*fields, *_VALIDATION)
        ours, theirs = own.get(section, {}), getattr(config, section)
        for field in fields:
            if field in ours and hasattr(theirs, field):
                before, now = (_settled(values) for values in (ours[field], getattr(theirs, field)))
                if before != now:
                    changed[f"{section}.{field}"] = now
    parts = [_short(changed[name]) for name in _NAMING if name in changed]
    if changed and not (validation and len(changed) == 1):
        parts.append(f"{zlib.crc32(repr(sorted(changed.items())).encode()):08x}")
    steps = saved_steps(workdir)
    if steps:
        step = existing(workdir, step)
        chosen = None
        if own.get("eval", {}).get("best") and not validation:
            chosen = best.step_of(workdir)
        if step != (max(steps) if chosen is None else chosen):
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
                    f"config.eval.protocol=vcoco is for V-COCO's classes, and the data set "
                    f"{vocabulary.name!r} has the {what} {name!r} with id {number}, which V-COCO "
                    "has not; use config.eval.protocol=hico, which scores any classes"
                )


def check_split(dataset: Dataset) -> None:
    """Raise a UserError where there is nothing to evaluate on."""
    if getattr(dataset, "eval_split", "test"):
        return
    held_out = f", or --config.data.eval_split={VALIDATION} for the validation split"
    raise UserError(
        "there is nothing to evaluate on: give --config.data.eval_annotations=FILE and "
        f"--config.data.eval_images=FOLDER{held_out if dataset.val_split else ''}"
    )


def check_training(config: Any, dataset: Dataset) -> str | None:
    """See before a training whether its checkpoints can be evaluated.

    Args:
        config: checked, its best checkpoint's validation split as well.
        dataset: what is trained and evaluated on.

    Returns:
        The metric that `config.eval.best` stands for, as `score` names it; None for none.

    Raises:
        UserError: the protocol does not fit the data set, or has no such metric, or it has no
            value on the validation split.
    """
    check_protocol(config, dataset.vocabulary)
    asked = config.eval.best
    if not asked:
        return None
    truth = dataset.ground_truth(VALIDATION)
    config = config_of_validation(config)
    nothing = [
        {"file_name": entry["file_name"], "predictions": [], "hoi_prediction": []}
        for entry in truth
    ]
    result = scorer(truth, dataset, config)(nothing)
    recalls = {
        f"{setting}/{group}": scores.mean_recalls.get(group, 0.0)
        for setting, scores in result.settings.items()
        for group in scores.means
    }
    name = next(iter(recalls)) if asked.lower() == "map" else asked.removeprefix("mAP/")
    if name not in recalls:
        raise UserError(
            f"config.eval.best={asked!r} is no metric of eval.protocol={config.eval.protocol}; it "
            f"can be map (which is {next(iter(recalls))}), {', '.join(recalls)}"
        )
    if np.isnan(recalls[name]):  # nothing annotated
        others = [other for other, recall in recalls.items() if np.isfinite(recall)]
        raise UserError(
            f"config.eval.best={asked!r} has no value on the validation split: none of its classes "
            f"has a pair in these {len(truth)} images; use "
            f"{', '.join(others) or 'more images'}"
        )
    return f"mAP/{name}"


def config_of_validation(config: Any) -> Any:
    """The configuration of an evaluation on the validation split."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.data.eval_split = VALIDATION
    return config


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
    rate = _rater(truth, dataset, config)
    return lambda entries: rate(entries)[0]


def _rater(
    truth: Sequence[Mapping[str, Any]], dataset: Dataset, config: Any
) -> Callable[[Sequence[Mapping[str, Any]]], tuple[Result, Callable[[], Matched]]]:
    """See `scorer`; it returns what the evaluators' `evaluate_and_match` return."""
    protocol = config.eval.protocol
    if protocol in HICO:
        split = getattr(config.data, "zero_shot", "")
        return lambda entries: hico.evaluate_and_match(
            entries,
            truth,
            dataset.vocabulary,
            protocol=HICO[protocol],
            groups=(split,) if split else (),
            accept_losses=True,
        )
    if protocol != "vcoco":
        raise UserError(
            f"config.eval.protocol is {protocol!r}; it can be {', '.join(HICO)} or vcoco"
        )
    original = dataset.vcoco_annotations(config.data.eval_split, truth)
    if original is None:
        return lambda entries: vcoco.evaluate_and_match(entries, truth, accept_losses=True)
    actions, instances = original
    return lambda entries: vcoco.evaluate_and_match(entries, actions, instances)
