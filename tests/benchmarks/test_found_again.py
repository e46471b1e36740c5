"""The count of interactions that are found again."""

from benchmarks.found_again import found_pairs

MAN, CUP, FAR = [0, 0, 10, 20], [10, 0, 20, 10], [50, 50, 60, 60]


def picture(pairs, *, scores=None, key="hoi_annotation"):
    """A picture with the boxes MAN, CUP, FAR and (human, object, verb) pairs."""
    boxes = "annotations" if key == "hoi_annotation" else "predictions"
    relations = [
        {"subject_id": h, "object_id": o, "category_id": v, "score": s}
        for (h, o, v), s in zip(pairs, scores or [1.0] * len(pairs), strict=True)
    ]
    return {boxes: [{"bbox": b, "category_id": 1} for b in (MAN, CUP, FAR)], key: relations}


def test_a_pair_needs_its_verb_both_boxes_and_a_place_near_the_top():
    truth = picture([(0, 1, 7), (0, 2, 8)])

    def found(pairs, scores=None):
        return found_pairs(truth, picture(pairs, scores=scores, key="hoi_prediction"))

    assert found([(0, 1, 7), (0, 2, 8)]) == (2, 2)
    assert found([(0, 1, 8), (1, 2, 7)]) == (0, 2)
    assert found([(0, 1, 7), (0, 1, 7)]) == (1, 2)
    wrong = [(2, 0, 7)] * 4
    assert found([*wrong, (0, 1, 7)], [0.9, 0.8, 0.7, 0.6, 0.5]) == (0, 2)  # fifth of 2 + 2
    assert found([*wrong, (0, 1, 7)], [0.9, 0.8, 0.7, 0.5, 0.6]) == (1, 2)
