"""Which annotated interactions a model that learnt some pictures by heart finds again.

    python -m benchmarks.found_again --predictions=WORKDIR/evaluation/predictions.json
        --ground_truth=mini_vcoco.json

An annotated pair counts as found if one of the picture's best n + 2 predictions, n its annotated
pairs, has the same verb and both boxes with an IoU of 0.5 or more; every prediction finds one pair.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ENDS = ("subject_id", "object_id")
EXTRA = 2  # predictions beyond the number of annotated pairs that may be wrong


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two boxes (x1, y1, x2, y2)."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    side = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    intersection = float(side.prod())
    return intersection / float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - intersection)


def found_pairs(truth: Mapping[str, Any], prediction: Mapping[str, Any]) -> tuple[int, int]:
    """How many annotated pairs of one picture are found, and how many there are."""
    missing = [
        (pair["category_id"], *(truth["annotations"][pair[end]]["bbox"] for end in ENDS))
        for pair in truth["hoi_annotation"]
    ]
    count = len(missing)
    boxes = prediction["predictions"]
    best = sorted(prediction["hoi_prediction"], key=lambda pair: -pair["score"])[: count + EXTRA]
    for pair in best:
        human, thing = (boxes[pair[end]]["bbox"] for end in ENDS)
        for wanted in missing:
            verb, wanted_human, wanted_thing = wanted
            if (
                verb == pair["category_id"]
                and overlap(human, wanted_human) >= 0.5
                and overlap(thing, wanted_thing) >= 0.5
            ):
                missing.remove(wanted)
                break
    return count - len(missing), count


def main() -> None:
    """Print a line a picture and the sum."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--predictions", required=True, type=Path)
    parser.add_argument("--ground_truth", required=True, type=Path)
    arguments = parser.parse_args()
    truth = json.loads(arguments.ground_truth.read_text())
    predictions = {p["file_name"]: p for p in json.loads(arguments.predictions.read_text())}
    nothing = {"predictions": [], "hoi_prediction": []}
    total = np.zeros(2, int)
    for entry in truth:
        found = found_pairs(entry, predictions.get(entry["file_name"], nothing))
        print(f"{entry['file_name']}  {found[0]} of {found[1]}")
        total += found
    print(f"found again: {total[0]} of {total[1]}")


if __name__ == "__main__":
    main()
