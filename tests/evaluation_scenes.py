"""Small annotation and prediction files for the evaluators' tests."""

import copy

import numpy as np

from ggnet_jax.vocabularies import Vocabulary

SMALL = Vocabulary(
    name="small",
    objects=("person", "cup", "dog"),
    object_ids=(1, 47, 18),
    verbs=("hold", "pet", "carry"),
    verb_ids=(1, 2, 5),
    classes=((0, 1), (1, 2), (0, 2), (2, 0), (2, 1)),
    rare=(True, False, False, True, False),
)


def truth(name, boxes, relations):
    """A ground-truth entry: boxes (x1, y1, x2, y2, category), relations (human, object, verb)."""
    return {
        "file_name": name,
        "annotations": [{"bbox": list(b[:4]), "category_id": b[4]} for b in boxes],
        "hoi_annotation": [
            {"subject_id": s, "object_id": o, "category_id": v} for s, o, v in relations
        ],
    }


def found(name, boxes, pairs):
    """A prediction entry: boxes as in `truth`, pairs (human, object, verb, score)."""
    return {
        "file_name": name,
        "predictions": [{"bbox": list(b[:4]), "category_id": b[4]} for b in boxes],
        "hoi_prediction": [
            {"subject_id": s, "object_id": o, "category_id": v, "score": score}
            for s, o, v, score in pairs
        ],
    }


def random_scenes(seed, *, images=25, vocabulary=SMALL, name="image_{:012d}.jpg"):
    """(predictions, ground truth) on a coarse grid: overlaps of exactly 0.5, ties, repeats."""
    rng = np.random.default_rng(seed)
    ids = list(vocabulary.object_ids)
    allowed = [
        (vocabulary.verb_ids[verb], vocabulary.object_ids[obj]) for verb, obj in vocabulary.classes
    ]

    def boxes(number):
        corner = rng.integers(0, 4, (number, 2)) * 10
        size = rng.integers(1, 4, (number, 2)) * 10
        categories = rng.choice(ids, number)
        categories[: number // 2] = ids[0]
        return [
            (*map(int, c), *map(int, c + s), int(k))
            for c, s, k in zip(corner, size, categories, strict=True)
        ]

    def draw(all_boxes, number):
        people = [i for i, box in enumerate(all_boxes) if box[4] == ids[0]]
        for _ in range(number if people else 0):
            human, target = rng.choice(people), rng.integers(len(all_boxes))
            verbs = [v for v, k in allowed if k == all_boxes[target][4]]
            if verbs and human != target:
                yield int(human), int(target), int(rng.choice(verbs))

    predictions, ground_truth = [], []
    for index in range(images):
        real = boxes(int(rng.integers(0, 6)))
        relations = list(dict.fromkeys(draw(real, 6)))
        ground_truth.append(truth(name.format(index), real, relations))
        if rng.random() < 0.1:
            continue
        near = [tuple(int(v + rng.integers(-1, 2)) for v in box[:4]) + box[4:] for box in real]
        guesses = near + real + boxes(3)
        pairs = list(draw(guesses, 8))
        for human, target, verb in relations:
            for copy_of in rng.choice(2, int(rng.integers(0, 4))):
                shift = int(copy_of) * len(real)
                pairs.append((human + shift, target + shift, verb))
        pairs = [(*one, int(rng.integers(1, 40)) / 40) for one in pairs]
        predictions.append(found(name.format(index), guesses, pairs))
    return predictions, ground_truth


def shuffled(entries, seed):
    """The same predictions with images, boxes and pairs in another order."""
    rng = np.random.default_rng(seed)
    entries = copy.deepcopy(entries)
    rng.shuffle(entries)
    for entry in entries:
        order = rng.permutation(len(entry["predictions"]))
        entry["predictions"] = [entry["predictions"][i] for i in order]
        moved = {int(old): new for new, old in enumerate(order)}
        for pair in entry["hoi_prediction"]:
            pair["subject_id"] = moved[pair["subject_id"]]
            pair["object_id"] = moved.get(pair["object_id"], pair["object_id"])
        rng.shuffle(entry["hoi_prediction"])
    return entries
