"""The evaluation rules restated one prediction at a time: slow, obvious, the evaluators' oracle.

Shares no code with `ggnet_jax.evaluation`. Entries are in PPDM's format and clean.
"""

import math
from collections import defaultdict

THRESHOLDS = [0.1 * i for i in range(11)]  # 0.1 * 3 is a little above 0.3, and so it must be
# As torch.linspace(0, 1, 11) has them in float64: 1 - 0.1 * 4 is 0.6 and not a little above.
LINSPACE = [0.1 * i if i < 6 else 1 - 0.1 * (10 - i) for i in range(11)]


def hico(predictions, ground_truth, vocabulary):
    """{"default": {class: AP}, "known_object": {class: AP}} after HO-RCNN's protocol."""
    class_of = _class_of(vocabulary)
    truth, listed, images = defaultdict(dict), defaultdict(set), set()
    for entry in ground_truth:
        images.add(entry["file_name"])
        for relation in entry["hoi_annotation"]:
            human = entry["annotations"][relation["subject_id"]]
            target = entry["annotations"][relation["object_id"]]
            key = class_of[target["category_id"], relation["category_id"]]
            pairs = truth[key].setdefault(entry["file_name"], [])
            pairs.append((human["bbox"], target["bbox"]))
            listed[entry["file_name"]].add(target["category_id"])
    found = defaultdict(list)
    for entry in predictions:
        if entry["file_name"] not in images:
            continue
        for pair in entry["hoi_prediction"]:
            human = entry["predictions"][pair["subject_id"]]
            target = entry["predictions"][pair["object_id"]]
            key = class_of.get((target["category_id"], pair["category_id"]))
            if key is not None:
                found[key].append(
                    (-pair["score"], entry["file_name"], human["bbox"], target["bbox"])
                )
    result = {"default": {}, "known_object": {}}
    for key, (_, obj) in enumerate(vocabulary.classes):
        category = vocabulary.object_ids[obj]
        for setting, figures in result.items():
            known = {name for name in images if setting == "default" or category in listed[name]}
            ours = sorted(one for one in found[key] if one[1] in known)
            free = {name: list(pairs) for name, pairs in truth[key].items() if name in known}
            total = sum(len(pairs) for pairs in free.values())
            hits = []
            for _, name, human, target in ours:
                match = next(
                    (
                        pair
                        for pair in free.get(name, [])
                        if _iou_ho_rcnn(human, pair[0]) > 0.5
                        and _iou_ho_rcnn(target, pair[1]) > 0.5
                    ),
                    None,
                )
                hits.append(match is not None)
                if match is not None:
                    free[name].remove(match)
            figures[key] = _average_precision(hits, total, eleven_point)
    return result


def hico_best(predictions, ground_truth, vocabulary, rule):
    """{class: AP} by a rule whose predictions take their best pair: official, pocket or inp_cc.

    As HICO-DET's Matlab and pocket's Python go: class by class, every prediction in turn looks
    at all pairs of its image and is wrong where its best one is taken.
    """
    class_of = _class_of(vocabulary)
    plus = 1 if rule == "official" else 0
    iou = _iou_vsrl if rule == "official" else _iou_plain
    recalls = {
        "official": THRESHOLDS, "pocket": LINSPACE, "inp_cc": [i / 10 for i in range(11)],
    }[rule]  # fmt: skip
    pairs, found = defaultdict(list), defaultdict(list)
    for entry in ground_truth:
        for relation in entry["hoi_annotation"]:
            ends = [entry["annotations"][relation[k]] for k in ("subject_id", "object_id")]
            boxes = [end["bbox"] for end in ends]
            if rule == "pocket":
                boxes = [[x1 - 1, y1 - 1, x2, y2] for x1, y1, x2, y2 in boxes]
            key = class_of[ends[1]["category_id"], relation["category_id"]]
            pairs[key].append((entry["file_name"], *boxes))
    for entry in predictions:
        for pair in entry["hoi_prediction"]:
            ends = [entry["predictions"][pair[k]] for k in ("subject_id", "object_id")]
            key = class_of.get((ends[1]["category_id"], pair["category_id"]))
            boxes = [[value + plus for value in end["bbox"]] for end in ends]
            found[key].append((-pair["score"], entry["file_name"], *boxes))
    result = {}
    for key in range(len(vocabulary.classes)):
        taken, hits = set(), []
        for _, name, human, target in sorted(found[key]):
            best, chosen = -1.0, None
            for index, (image, one, other) in enumerate(pairs[key]):
                overlap = min(iou(human, one), iou(target, other)) if image == name else -1.0
                if overlap > best:
                    best, chosen = overlap, index
            near = best > 0.5 if rule == "pocket" else best >= 0.5
            hits.append(near and chosen not in taken)
            if near:
                taken.add(chosen)
        total = len(pairs[key])
        result[key] = eleven_point(hits, total, recalls) if total else 0.0
    return result


def hico_ppdm(predictions, ground_truth, vocabulary):
    """{class: AP} after PPDM's protocol, NaN for a class without ground truth."""
    class_of = _class_of(vocabulary)
    person = vocabulary.object_ids[0]
    truth = {entry["file_name"]: entry for entry in ground_truth}
    total, outcomes = defaultdict(int), defaultdict(list)
    for entry in ground_truth:
        for relation in entry["hoi_annotation"]:
            target = entry["annotations"][relation["object_id"]]["category_id"]
            total[class_of[target, relation["category_id"]]] += 1
    for entry in predictions:
        real = truth[entry["file_name"]]
        boxes = [
            ([value + 1 for value in box["bbox"]], box["category_id"])
            for box in entry["predictions"]
        ]
        taken = set()
        ranking = sorted(
            entry["hoi_prediction"],
            key=lambda p: (-p["score"], boxes[p["subject_id"]][0], boxes[p["object_id"]][0]),
        )
        for pair in ranking:
            human, target = boxes[pair["subject_id"]], boxes[pair["object_id"]]
            key = class_of.get((target[1], pair["category_id"]))
            if key is None or human[1] != person:
                continue
            best, chosen = 0.0, None
            for index, relation in enumerate(real["hoi_annotation"]):
                ends = [real["annotations"][relation[k]] for k in ("subject_id", "object_id")]
                if relation["category_id"] != pair["category_id"]:
                    continue
                if [end["category_id"] for end in ends] != [human[1], target[1]]:
                    continue
                overlaps = [
                    _iou_ppdm(box, end["bbox"])
                    for box, end in zip((human[0], target[0]), ends, strict=True)
                ]
                if min(overlaps) >= 0.5 and min(overlaps) > best:
                    best, chosen = min(overlaps), index
            hit = chosen is not None and chosen not in taken
            taken.add(chosen)
            outcomes[key].append((-pair["score"], entry["file_name"], human[0], target[0], hit))
    result = {}
    for key in range(len(vocabulary.classes)):
        hits = _hits(outcomes[key])
        result[key] = _average_precision(hits, total[key], eleven_point) if total[key] else math.nan
    return result


def vcoco(predictions, vsrl, instances, verb_names, *, any_object):
    """{verb-role name: AP}; Scenario 2 with `any_object`, else Scenario 1."""
    images, people = _vcoco_people(vsrl, instances)
    result = {}
    for action in vsrl:
        for slot, role in enumerate(action["role_name"]):
            if role == "agent":
                continue
            name = f"{action['action_name']}_{role}"
            total = sum(
                action["action_name"] in person["actions"]
                for one in people.values()
                for person in one
            )
            outcomes = []
            for entry in predictions:
                image = images[entry["file_name"]]
                records = {}
                for pair in entry["hoi_prediction"]:
                    if verb_names[pair["category_id"]] == name:
                        human = tuple(entry["predictions"][pair["subject_id"]]["bbox"])
                        target = tuple(entry["predictions"][pair["object_id"]]["bbox"])
                        records[human, target] = max(
                            pair["score"], records.get((human, target), -math.inf)
                        )
                detected = set()
                ranking = sorted((-score, *boxes) for boxes, score in records.items())
                for score, human, target in ranking:
                    overlaps = [_iou_vsrl(human, one["box"]) for one in people[image]]
                    if not overlaps:
                        outcomes.append((score, image, human, target, False))
                        continue
                    index = overlaps.index(max(overlaps))
                    person = people[image][index]
                    if not person["annotated"]:
                        continue
                    real = person["objects"].get((action["action_name"], slot))
                    if real is not None:
                        right = _iou_vsrl(target, real) >= 0.5
                    else:
                        right = any_object or not any(target)
                    right = right and action["action_name"] in person["actions"]
                    right = right and max(overlaps) >= 0.5 and index not in detected
                    if right:
                        detected.add(index)
                    outcomes.append((score, image, human, target, right))
            hits = _hits(outcomes)
            result[name] = _average_precision(hits, total, area_under_curve)
    return result


def vcoco_detections(detections, vsrl, instances, *, any_object):
    """{verb-role or action_agent: AP} of what V-COCO's own code reads, every entry by itself.

    A `detections[n]` answers for every key, or raises a KeyError for what it does not predict.
    """
    _, people = _vcoco_people(vsrl, instances)
    result = {}
    for action in vsrl:
        verb = action["action_name"]
        total = sum(verb in person["actions"] for one in people.values() for person in one)
        for slot, role in enumerate(action["role_name"]):
            outcomes, covered = [], set()
            found = []
            for entry in detections:
                try:
                    value = entry[f"{verb}_{role}"]
                except KeyError:
                    continue
                *box, score = [value] if role == "agent" else value
                if not math.isnan(score):
                    box = [0.0 if math.isnan(v) else v for v in box]
                    found.append((-score, entry["image_id"], list(entry["person_box"]), box))
            for _, image, human, target in sorted(found):
                overlaps = [_iou_vsrl(human, one["box"]) for one in people[image]]
                if not overlaps:
                    outcomes.append(False)
                    continue
                index = overlaps.index(max(overlaps))
                person = people[image][index]
                if not person["annotated"]:
                    continue
                real = person["objects"].get((verb, slot))
                if role == "agent":
                    right = True
                elif real is not None:
                    right = _iou_vsrl(target, real) >= 0.5
                else:
                    right = any_object or not any(target)
                right = right and verb in person["actions"] and max(overlaps) >= 0.5
                right = right and (image, index) not in covered
                if right:
                    covered.add((image, index))
                outcomes.append(right)
            result[f"{verb}_{role}"] = _average_precision(outcomes, total, area_under_curve)
    return result


def vcoco_ppdm(predictions, ground_truth, verb_ids):
    """{verb id: AP} after PPDM's V-COCO code."""
    truth = {entry["file_name"]: entry for entry in ground_truth}
    total, outcomes = defaultdict(int), defaultdict(list)
    for entry in ground_truth:
        for relation in entry["hoi_annotation"]:
            total[relation["category_id"]] += 1
    for entry in predictions:
        real = truth[entry["file_name"]]
        boxes = [box["bbox"] for box in entry["predictions"]]
        free = list(real["hoi_annotation"])
        ranking = sorted(
            (-p["score"], boxes[p["subject_id"]], boxes[p["object_id"]], p["category_id"])
            for p in entry["hoi_prediction"]
        )
        for score, human, target, verb in ranking:
            matched = [
                relation
                for relation in free
                if relation["category_id"] == verb
                and _iou_plain(human, real["annotations"][relation["subject_id"]]["bbox"]) >= 0.5
                and _iou_plain(target, real["annotations"][relation["object_id"]]["bbox"]) >= 0.5
            ]
            free = [relation for relation in free if not any(relation is m for m in matched)]
            outcomes[verb].append((score, entry["file_name"], human, target, bool(matched)))
    result = {}
    for verb in verb_ids:
        hits = _hits(outcomes[verb])
        result[verb] = _average_precision(hits, total[verb], area_under_curve) if hits else 0.0
        result[verb] = result[verb] if total[verb] else 0.0
    return result


def eleven_point(hits, total, recalls=THRESHOLDS):
    """The mean over 11 recalls of the best precision at that recall or a larger one."""
    points = [(sum(hits[: i + 1]) / total, sum(hits[: i + 1]) / (i + 1)) for i in range(len(hits))]
    return sum(max([p for r, p in points if r >= t], default=0.0) for t in recalls) / 11


def area_under_curve(hits, total):
    """The area under precision's envelope: each hit adds the best precision from there on."""
    precisions = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]
    return sum(max(precisions[i:]) / total for i, hit in enumerate(hits) if hit)


def _hits(outcomes):
    """Whether each was right, by descending score; the same prediction twice keeps its order."""
    return [one[-1] for one in sorted(outcomes, key=lambda one: one[:-1])]


def _average_precision(hits, total, rule):
    if not hits:
        return 0.0
    return rule(hits, total) if total else math.nan


def _class_of(vocabulary):
    return {
        (vocabulary.object_ids[obj], vocabulary.verb_ids[verb]): index
        for index, (verb, obj) in enumerate(vocabulary.classes)
    }


def _vcoco_people(vsrl, instances):
    """{file name: image id}, {image id: people in COCO's order}."""
    sizes = {image["id"]: (image["width"], image["height"]) for image in instances["images"]}
    boxes, people = {}, {number: [] for number in sizes}
    for one in instances["annotations"]:
        width, height = sizes[one["image_id"]]
        x, y, w, h = one["bbox"]
        box = [x, y, x + max(0, w - 1), y + max(0, h - 1)]
        box = [min(max(0, v), (width, height)[i % 2] - 1) for i, v in enumerate(box)]
        if one["area"] > 0 and box[2] > box[0] and box[3] > box[1]:
            boxes[one["id"]] = box
            if one["category_id"] == 1:
                people[one["image_id"]].append({"id": one["id"], "box": box})
    rows = defaultdict(dict)
    for action in vsrl:
        count = len(action["ann_id"])
        for i, number in enumerate(action["ann_id"]):
            rows[number].setdefault("actions", set())
            rows[number].setdefault("objects", {})
            if action["label"][i] == 1:
                rows[number]["actions"].add(action["action_name"])
                for slot in range(1, len(action["role_name"])):
                    target = action["role_object_id"][slot * count + i]
                    if target in boxes:
                        rows[number]["objects"][action["action_name"], slot] = boxes[target]
    for person in (person for one in people.values() for person in one):
        person["annotated"] = person["id"] in rows
        person.update(rows.get(person["id"], {"actions": set(), "objects": {}}))
    return {image["file_name"]: image["id"] for image in instances["images"]}, people


def _sides(a, b):
    return min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])


def _area(box, extra):
    return (box[2] - box[0] + extra) * (box[3] - box[1] + extra)


def _iou_ho_rcnn(a, b):
    def area(w, h):
        return (w + 1) * (h + 1) if w > 0 and h > 0 else 0

    shared = area(*_sides(a, b))
    whole = [area(box[2] - box[0], box[3] - box[1]) for box in (a, b)]
    return shared / (whole[0] + whole[1] - shared + 1e-6)


def _iou_ppdm(a, b):
    w, h = _sides(a, b)
    shared = (w + 1) * (h + 1) if w > 0 and h > 0 else 0
    return shared / (_area(a, 1) + _area(b, 1) - shared)


def _iou_vsrl(a, b):
    w, h = _sides(a, b)
    shared = max(0, w + 1) * max(0, h + 1)
    return shared / (_area(a, 1) + _area(b, 1) - shared)


def _iou_plain(a, b):
    w, h = _sides(a, b)
    shared = max(0, w) * max(0, h)
    union = _area(a, 0) + _area(b, 0) - shared
    return shared / union if union > 0 else 0
