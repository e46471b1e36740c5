"""What kind of mistakes cost a trained row its mAP, so that a difference can be explained.

    python -m benchmarks.ablation.mistakes [--workdir=/tmp/ggnet_ablation] [--seeds=0,1,2]
        [--rows=table1_baseline,table1_full]

Every prediction that meets no annotated interaction is put down to the first of these that fits:
the verb (its boxes are those of an annotated pair with another verb), the pairing (both boxes are
annotated, but not as a pair) or a box. Leaving out all mistakes of one kind and scoring again says
how much mAP they cost: an oracle for that kind alone.
"""

import argparse
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import timing
from benchmarks.ablation import folder as places
from benchmarks.ablation.batches import Batches
from benchmarks.ablation.run import predict
from benchmarks.arguments import seeds
from ggnet_jax.evaluation import hico, overlap
from ggnet_jax.inference import detection
from ggnet_jax.vocabularies import Vocabulary

KINDS = ("verb", "pairing", "box")
Entry = Mapping[str, Any]


def kinds(found: Entry, truth: Entry) -> list[str]:
    """What is wrong with each interaction of a picture's prediction; '' for nothing.

    Args:
      found: an entry with `predictions` and `hoi_prediction`.
      truth: the picture's annotation, in the same pixels.
    """
    boxes = found["predictions"]
    met = [_same_box(box, truth["annotations"]) for box in boxes]
    verbs_of: dict[tuple[int, int], set[int]] = {}
    for relation in truth["hoi_annotation"]:
        pair = relation["subject_id"], relation["object_id"]
        verbs_of.setdefault(pair, set()).add(relation["category_id"])
    answers = []
    for one in found["hoi_prediction"]:
        humans, objects = met[one["subject_id"]], met[one["object_id"]]
        pairs = [(human, thing) for human in humans for thing in objects]
        verbs = set().union(*(verbs_of.get(pair, ()) for pair in pairs))
        if one["category_id"] in verbs:
            answers.append("")
        elif verbs:
            answers.append("verb")
        else:
            answers.append("pairing" if pairs else "box")
    return answers


def _same_box(box: Entry, annotated: Sequence[Entry]) -> list[int]:
    """Which annotated boxes of the same class a predicted box overlaps by more than one half."""
    same = [i for i, one in enumerate(annotated) if one["category_id"] == box["category_id"]]
    if not same:
        return []
    others = np.array([annotated[i]["bbox"] for i in same], float)
    mine = np.broadcast_to(np.array(box["bbox"], float), others.shape)
    return [
        i for i, shared in zip(same, overlap.ho_rcnn(mine, others), strict=True) if shared > 0.5
    ]


def costs(
    entries: Sequence[Entry], truth: Sequence[Entry], vocabulary: Vocabulary
) -> dict[str, float]:
    """mAP in percent as it is ("all"), and what each kind of mistake takes away from it."""
    wrong = [kinds(entry, true) for entry, true in zip(entries, truth, strict=True)]

    def score(left_out: Iterable[str]) -> float:
        kept = [
            {
                **entry,
                "hoi_prediction": [
                    one
                    for one, kind in zip(entry["hoi_prediction"], kinds_of, strict=True)
                    if kind not in left_out
                ],
            }
            for entry, kinds_of in zip(entries, wrong, strict=True)
        ]
        return 100 * hico.evaluate(kept, truth, vocabulary).means["default"]["full"]

    as_it_is = score(())
    return {"all": as_it_is} | {kind: score((kind,)) - as_it_is for kind in KINDS}


def costs_of_run(root: Path, row: str, seed: int, batches: Batches) -> dict[str, float]:
    """`costs` of one finished training."""
    trained = detection.load(places.run_folder(root, row, seed))
    entries = predict(trained.config, trained.model, trained.variables, batches)
    return costs(entries, batches.truth, trained.vocabulary)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table: mAP, and points of mAP that each kind of mistake costs, over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("/tmp/ggnet_ablation"))
    parser.add_argument("--rows", default="table1_baseline,table1_full")
    parser.add_argument("--seeds", type=seeds, default=[0, 1, 2])
    arguments = parser.parse_args(argv)
    batches = Batches(arguments.workdir)
    table = []
    for row in arguments.rows.split(","):
        runs = [
            costs_of_run(arguments.workdir, row, seed, batches)
            for seed in arguments.seeds
            if places.read_result(arguments.workdir, row, seed) is not None
        ]
        if runs:
            columns = {name: [run[name] for run in runs] for name in runs[0]}
            table.append(
                {"row": row, "seeds": len(runs)} | {k: _mean(v) for k, v in columns.items()}
            )
    print(timing.table(table) if table else f"no finished run of these rows in {arguments.workdir}")
    return int(not table)


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


if __name__ == "__main__":
    sys.exit(main())
