"""What the mistakes of the ablation's rows cost, and where their verbs and humans are wrong.

    python -m benchmarks.ablation_mistakes [--rows=table1_baseline,table1_full] [--seeds=0,1,2]
        [--reference=table1_hna] [--workdir=/tmp/ggnet_ablation] [--config.FIELD=VALUE ...]
        [--output=FILE]

Of the finished runs of `python -m benchmarks.ablation`, whose options these are: points of mAP that
each kind of mistake costs (ggnet_jax/evaluation/diagnosis.py), with the interval in which the mean
difference to the row marked *, by pairs of the same seed, lies with 95%. That row is the one of the
ablation's tables, or --reference. Then, in percent of the annotated pairs: how often the verb of
the highest score on it is wrong, by the distance between the centers of its boxes; and how often
the best prediction on its object is of a human that is annotated with none of that object's pairs,
by the number of people in the image.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import data_pipelines
from benchmarks import timing
from benchmarks.ablation import (
    GROUPS,
    ROWS,
    Run,
    by_seed,
    interval,
    read_changes,
    read_result,
    reference_of,
    runs_of,
    statistics,
)
from configs import ablation, paper
from ggnet_jax.cli.evaluate_split import PREDICTIONS
from ggnet_jax.evaluation import hico
from ggnet_jax.evaluation.diagnosis import Matched, diagnose
from ggnet_jax.evaluation.results import readable
from ggnet_jax.run_dir.folder import EVALUATION
from ggnet_jax.vocabularies import Vocabulary

KINDS = ("wrong_verb", "wrong_pairing", "human_box", "object_box")
DISTANCES = ("near", "middle", "far")
MIN_PAIRS = 100  # in images of so many people, for a percentage to say something


class Pairs(NamedTuple):
    """The annotated pairs of a data set, in the order of its images, and what is predicted on them.

    Attributes:
        distance: [n] between the centers of human and object, in pixels.
        people: [n] in its image.
        wrong_verb: [n] whether the verb of the highest score on it is annotated for it: 0, or it
            is not: 1; NaN without a prediction on it.
        wrong_human: [n] whether the best prediction on its object is of a human in none of that
            object's pairs: 1; NaN without a prediction on it, or if none of these humans is found.
    """

    distance: np.ndarray
    people: np.ndarray
    wrong_verb: np.ndarray
    wrong_human: np.ndarray


def look_at_pairs(matched: Matched) -> Pairs:
    """What is predicted on every annotated pair; boxes match as the rule has it."""
    found, truth = matched.found, matched.truth
    images = len(truth.file_names)
    people = np.bincount(truth.box_image[truth.box_object == 0], minlength=images)
    predicted, annotated = _by_image(found.image, images), _by_image(truth.image, images)
    columns: list[tuple[float, int, float, float]] = []
    for image, (ours, theirs) in enumerate(zip(annotated, predicted, strict=True)):
        score = found.score[theirs]
        boxes = np.stack([truth.human[ours], truth.object[ours]], axis=1)
        pairs, pair_of = np.unique(boxes, axis=0, return_inverse=True)
        on_human = _match(matched, pairs[:, 0], found.human[theirs])
        on_object = _match(matched, pairs[:, 1], found.object[theirs])
        for pair, (human, target) in enumerate(pairs):
            verbs = truth.verb[ours[pair_of.ravel() == pair]]
            best = _best(score, on_human[pair] & on_object[pair])
            wrong_verb = np.nan if best is None else float(found.verb[theirs[best]] not in verbs)
            of_its_humans: np.ndarray = np.any(on_human[pairs[:, 1] == target], axis=0)
            best = _best(score, on_object[pair])
            known = best is not None and of_its_humans.any()
            wrong_human = float(not of_its_humans[best]) if known else np.nan
            centers = truth.boxes[[human, target]].reshape(2, 2, 2).mean(axis=1)
            distance = float(np.hypot(*(centers[0] - centers[1])))
            columns.append((distance, int(people[image]), wrong_verb, wrong_human))
    return Pairs(*np.array(columns).reshape(-1, 4).T)


def _by_image(image: np.ndarray, images: int) -> list[np.ndarray]:
    """The rows of each image."""
    order = np.argsort(image, kind="stable")
    return np.split(order, np.searchsorted(image[order], np.arange(1, images)))


def _match(m: Matched, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """[t, f] whether annotated boxes and predicted ones overlap enough and have one category."""
    a = np.repeat(m.true_boxes[ours], len(theirs), axis=0)
    b = np.tile(m.boxes[theirs], (len(ours), 1))
    same = np.equal.outer(m.truth.box_object[ours], m.found.box_object[theirs])
    return m.enough(m.overlap(a, b)).reshape(same.shape) & same


def _best(score: np.ndarray, chosen: np.ndarray) -> int | None:
    """Which of the chosen has the highest score; None of none."""
    return int(np.where(chosen, score, -np.inf).argmax()) if chosen.any() else None


def look_at_run(
    folder: Path, truth: Sequence[Mapping[str, Any]], vocabulary: Vocabulary
) -> dict[str, Any]:
    """What a run's predictions are worth, and where they are wrong.

    Args:
        folder: the workdir of main.py.
        truth: the test set's entries in PPDM's format.
        vocabulary: of the data set.

    Returns:
        "costs": by group of classes mAP and the points that each of `KINDS` costs, in percent;
        "pairs": see `percentages`.
    """
    _, match = hico.evaluate_and_match(folder / EVALUATION / PREDICTIONS, truth, vocabulary)
    matched = match()
    diagnosis = diagnose(matched)
    costs = {
        group: {"mAP": 100 * matched.scores.means[group]}
        | {kind: 100 * diagnosis.costs[kind].points[group] for kind in KINDS}
        for group in GROUPS
        if group in matched.scores.means
    }
    return {"costs": costs, "pairs": percentages(look_at_pairs(matched))}


def percentages(pairs: Pairs) -> dict[str, float]:
    """Wrong verbs by thirds of the distance, wrong humans by people, in percent."""
    bounds = np.quantile(pairs.distance, [1 / 3, 2 / 3]) if len(pairs.distance) else [0, 0]
    third = np.searchsorted(bounds, pairs.distance, side="right")
    chosen = {"wrong verb": (pairs.wrong_verb, np.full(len(third), True))}
    for number, name in enumerate(DISTANCES):
        chosen[f"wrong verb, {name}"] = pairs.wrong_verb, third == number
    for number in np.unique(pairs.people).astype(int):
        among = pairs.people == number
        if among.sum() >= MIN_PAIRS:
            name = f"wrong human, {number} {'person' if number == 1 else 'people'}"
            chosen[name] = pairs.wrong_human, among
    kept = {name: values[rows & ~np.isnan(values)] for name, (values, rows) in chosen.items()}
    return {name: 100 * float(values.mean()) for name, values in kept.items() if len(values)}


def report_costs(
    looked: Mapping[Run, Mapping[str, Any]],
    references: Mapping[str, str],
    seeds: Sequence[int],
    group: str,
) -> str:
    """A table of the points that each kind costs in a group of classes.

    Args:
        looked: `look_at_run` of every finished run.
        references: the rows, each with the one that it is compared with.
        seeds: those of the runs.
        group: a key of `GROUPS`.
    """
    lines: list[dict[str, Any]] = []
    for row, reference in references.items():
        ours, base = by_seed(looked, row, seeds), by_seed(looked, reference, seeds)
        same = paper.original(row) == paper.original(reference)
        line: dict[str, Any] = {"row": paper.ROWS[row].label + " *" * same, "seeds": len(ours)}
        for key in ("mAP", *KINDS):
            values = {seed: run["costs"][group][key] for seed, run in ours.items()}
            line[readable(key)] = statistics(list(values.values()))
            paired = [
                value - base[seed]["costs"][group][key]
                for seed, value in values.items()
                if seed in base
            ]
            if not same and (between := interval(paired)):
                line[readable(key)] += f" ({between})"
        lines.append(line)
    return timing.table(lines)


def report_pairs(
    looked: Mapping[Run, Mapping[str, Any]], rows: Sequence[str], seeds: Sequence[int]
) -> str:
    """A table of the percentages of pairs."""
    lines: list[dict[str, Any]] = []
    for row in dict.fromkeys(paper.original(row) for row in rows):
        found = [run["pairs"] for run in by_seed(looked, row, seeds).values()]
        line: dict[str, Any] = {"row": paper.ROWS[row].label, "seeds": len(found)}
        for name in dict.fromkeys(name for pairs in found for name in pairs):
            line[name] = statistics([pairs[name] for pairs in found if name in pairs])
        lines.append(line)
    return timing.table(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Look at the finished runs and print the tables; 1 if there is none."""
    parser = timing.parser(__doc__, rows=(ROWS, ROWS), seeds=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--workdir", type=Path, default=Path("/tmp/ggnet_ablation"), help="of all runs"
    )
    parser.add_argument("--reference", choices=ROWS, help="row that all others are compared with")
    arguments, options = parser.parse_known_args(argv)
    config = ablation.get_config()
    changes = read_changes(parser, options, config)
    rows, seeds, workdir = arguments.rows, arguments.seeds, arguments.workdir
    references = {row: arguments.reference or reference_of(row) for row in rows}
    wanted = runs_of([*references, *references.values()], seeds)
    runs = [run for run in wanted if read_result(workdir, run, changes) is not None]
    if not runs:
        print(f"{workdir} has no finished run of these rows; python -m benchmarks.ablation trains")
        return 1
    dataset = data_pipelines.load_dataset(config.data, training=False)
    truth = dataset.ground_truth(config.data.eval_split)
    looked = {run: look_at_run(run.folder(workdir), truth, dataset.vocabulary) for run in runs}
    print("Points of mAP that kinds of mistakes cost, mean ± standard deviation over the seeds; in")
    print("brackets the 95% interval of the mean difference to the row marked *, seed by seed.")
    for group, title in GROUPS.items():
        if all(group in run["costs"] for run in looked.values()):
            print(f"\n{title}\n\n{report_costs(looked, references, seeds, group)}")
    print("\nPercent of the annotated pairs, by distance of the centers (thirds) and by people\n")
    print(report_pairs(looked, rows, seeds))
    timing.write(arguments.output, "", [{**run._asdict(), **looked[run]} for run in looked])
    return 0


if __name__ == "__main__":
    sys.exit(main())
