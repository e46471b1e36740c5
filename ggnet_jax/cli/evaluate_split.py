"""--mode=evaluate: the predictions of a split, scored by its data set's protocol."""

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
from ggnet_jax.run_dir.folder import EVALUATION
from ggnet_jax.vocabularies import Vocabulary

PREDICTIONS = "predictions.json"
HICO = {"hico": "no_frills", "hico_ppdm": "ppdm"}  # eval.protocol -> that of `hico.evaluate`


def evaluate(
    config: Any, workdir: str | Path, step: int | None = None, *, data: DataPipelines
) -> dict[str, float]:
    """Predict the evaluation split with a checkpoint and score the predictions.

    Writes `<workdir>/evaluation/predictions.json` (PPDM's format), `metrics.json`, `table.txt`
    and a plot of AP by class, and prints the table. If it is interrupted and called again, the
    images that are done are not predicted again.

    Args:
        config: resolved; its `data` and `eval` fields are used, the network is the run's own.
        workdir: of the run.
        step: of the checkpoint; None for the newest.
        data: where the split comes from.

    Returns:
        {"mAP/<setting>/<group>": percent}, empty in all processes but the first.

    Raises:
        UserError: no run or checkpoint, or a data set with other classes than the run's.
    """
    trained = detection.load(workdir, step)
    dataset = data.load_dataset(config.data, training=False)
    check_vocabulary(trained.vocabulary, dataset.vocabulary, workdir)
    truth = dataset.ground_truth(config.data.eval_split)
    folder = Path(workdir) / EVALUATION
    first = jax.process_index() == 0
    # Before the long part: a file may be missing.
    score = scorer(truth, dataset, config) if first else None
    entries = predict_split(trained, data, dataset, config, truth, folder)
    summary: dict[str, float] = {}
    if score is not None:
        path = folder / PREDICTIONS
        io.write_json(path, entries, depth=1)
        result = score(entries)
        print(f"\ncheckpoint of step {trained.step}, {len(entries)} images\n\n{result.table()}")
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
    the images of the split; where there are only pair lists, PPDM's figure is given.

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
    original = dataset.vcoco_annotations(config.data.eval_split, truth)
    if original is None:
        return lambda entries: vcoco.evaluate(entries, truth)
    actions, instances = original
    return lambda entries: vcoco.evaluate(entries, actions, instances)
