"""The kinds of mistakes and their costs restated one prediction at a time: slow and obvious.

Shares no code with `ggnet_jax.evaluation`. Entries are in PPDM's format and clean.
"""

from plain_evaluation import (
    LINSPACE,
    THRESHOLDS,
    _iou_ho_rcnn,
    _iou_plain,
    _iou_ppdm,
    _iou_vsrl,
    eleven_point,
)

# iou, whether exactly one half matches, what is added to predicted boxes, whether the first free
# pair is taken, the recalls
RULES = {
    "no_frills": (_iou_ho_rcnn, False, 0, True, THRESHOLDS),
    "official": (_iou_vsrl, True, 1, False, THRESHOLDS),
    "ppdm": (_iou_ppdm, True, 1, False, THRESHOLDS),
    "pocket": (_iou_plain, False, 0, False, LINSPACE),
}


def diagnose(predictions, ground_truth, vocabulary, rule):
    """({kind: (count, mended, {class: AP after mending})}, {class: AP as it is})."""
    iou, half, plus, takes_first, recalls = RULES[rule]
    class_of = {
        (vocabulary.object_ids[obj], vocabulary.verb_ids[verb]): index
        for index, (verb, obj) in enumerate(vocabulary.classes)
    }
    person = vocabulary.object_ids[0]

    def enough(overlap):
        return overlap >= 0.5 if half else overlap > 0.5

    images = {}
    for entry in ground_truth:
        boxes = [(b["bbox"], b["category_id"]) for b in entry["annotations"]]
        if rule == "pocket":
            boxes = [([b[0] - 1, b[1] - 1, b[2], b[3]], category) for b, category in boxes]
        pairs = []
        for one in entry["hoi_annotation"]:
            human, target = boxes[one["subject_id"]], boxes[one["object_id"]]
            key = class_of.get((target[1], one["category_id"]))
            if key is None or (rule == "ppdm" and human[1] != person):
                continue
            pairs.append(
                {
                    "human": human[0], "object": target[0], "category": target[1],
                    "verb": one["category_id"], "class": key, "taken": False,
                }
            )  # fmt: skip
        subjects = {one["subject_id"] for one in entry["hoi_annotation"]}
        humans = [b for i, (b, c) in enumerate(boxes) if c == person or i in subjects]
        images[entry["file_name"]] = {"boxes": boxes, "humans": humans, "pairs": pairs}
    found = []
    for entry in predictions:
        image = images[entry["file_name"]]
        boxes = [([v + plus for v in b["bbox"]], b["category_id"]) for b in entry["predictions"]]
        subjects = {one["subject_id"] for one in entry["hoi_prediction"]}
        image["predicted"] = boxes
        image["predicted_humans"] = [
            b for i, (b, c) in enumerate(boxes) if c == person or i in subjects
        ]
        for one in entry["hoi_prediction"]:
            human, target = boxes[one["subject_id"]], boxes[one["object_id"]]
            key = class_of.get((target[1], one["category_id"]))
            if key is None or (rule == "ppdm" and human[1] != person):
                continue
            found.append(
                {
                    "score": one["score"], "class": key, "name": entry["file_name"],
                    "image": image, "human": human[0], "object": target[0],
                    "category": target[1], "verb": one["category_id"], "meant": None,
                }
            )  # fmt: skip
    found.sort(key=lambda p: (-p["score"], p["class"], p["name"], p["human"], p["object"]))

    def overlaps(p, pair):
        return iou(p["human"], pair["human"]), iou(p["object"], pair["object"])

    for p in found:
        same = [pair for pair in p["image"]["pairs"] if pair["class"] == p["class"]]
        match = [pair for pair in same if all(map(enough, overlaps(p, pair)))]
        p["matches"] = bool(match)
        if takes_first:
            match = [pair for pair in match if not pair["taken"]]
        match.sort(key=lambda pair: 0 if takes_first else -min(overlaps(p, pair)))
        p["right"] = bool(match) and not match[0]["taken"]
        if p["right"]:
            match[0]["taken"] = True
    for p in found:
        p["kind"] = None if p["right"] else _kind(p, iou, enough)
    result = {}
    total = {
        key: sum(p["class"] == key for image in images.values() for p in image["pairs"])
        for key in class_of.values()
    }
    before = _all_ap(found, total, recalls)
    for kind in (
        "duplicate", "wrong_verb", "wrong_pairing", "human_box", "object_box", "both_boxes",
        "background",
    ):  # fmt: skip
        ours = [p for p in found if p["kind"] == kind]
        spoken_for = []
        for p in ours:
            fits = [
                pair
                for pair in p["image"]["pairs"]
                if not pair["taken"]
                and not any(pair is other for other in spoken_for)
                and _differs_by(kind, p, pair, overlaps(p, pair), enough)
            ]
            fits.sort(key=lambda pair: -sum(overlaps(p, pair)))
            if fits:
                p["meant"] = fits[0]
                spoken_for.append(fits[0])
        after = []
        for p in found:
            if p["kind"] != kind:
                after.append(p)
            elif p["meant"] is not None:
                after.append({**p, "class": p["meant"]["class"], "right": True})
        mended = sum(p["meant"] is not None for p in ours)
        result[kind] = len(ours), mended, _all_ap(after, total, recalls)
    lost = {}
    for image in images.values():
        for pair in image["pairs"]:
            if not pair["taken"]:
                human = any(
                    enough(iou(box, pair["human"])) for box in image.get("predicted_humans", [])
                )
                target = any(
                    enough(iou(box, pair["object"]))
                    for box, category in image.get("predicted", [])
                    if category == pair["category"]
                )
                name = {
                    (True, True): "both", (True, False): "human", (False, True): "object",
                    (False, False): "neither",
                }[human, target]  # fmt: skip
                lost.setdefault(f"missed_{name}_there", []).append(pair["class"])
    for name in ("both", "human", "object", "neither"):
        gone = lost.get(f"missed_{name}_there", [])
        left = {key: number - gone.count(key) for key, number in total.items()}
        result[f"missed_{name}_there"] = len(gone), 0, _all_ap(found, left, recalls)
    return result, before


def _kind(p, iou, enough):
    image = p["image"]
    if p["matches"]:
        return "duplicate"
    for pair in image["pairs"]:
        if pair["category"] == p["category"]:
            if enough(iou(p["human"], pair["human"])) and enough(iou(p["object"], pair["object"])):
                return "wrong_verb"
    human = max((iou(p["human"], box) for box in image["humans"]), default=0)
    target = max(
        (iou(p["object"], box) for box, c in image["boxes"] if c == p["category"]), default=0
    )
    if enough(human) and enough(target):
        return "wrong_pairing"
    if enough(target):
        return "human_box"
    if enough(human):
        return "object_box"
    return "both_boxes" if human >= 0.1 and target >= 0.1 else "background"


def _differs_by(kind, p, pair, overlaps, enough):
    human, target = overlaps
    same_class = pair["class"] == p["class"]
    if kind == "wrong_verb":
        return pair["category"] == p["category"] and enough(human) and enough(target)
    if kind == "wrong_pairing":
        return same_class and (enough(human) or enough(target))
    if kind == "human_box":
        return same_class and enough(target)
    if kind == "object_box":
        same_object = pair["category"] == p["category"] or enough(target)
        return pair["verb"] == p["verb"] and enough(human) and same_object
    if kind == "both_boxes":
        return same_class and human >= 0.1 and target >= 0.1
    return False


def _all_ap(found, total, recalls):
    """{class: AP}, 1 for a class without any pair."""
    return {
        key: eleven_point([p["right"] for p in found if p["class"] == key], number, recalls)
        if number
        else 1.0
        for key, number in total.items()
    }
