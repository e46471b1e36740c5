"""Small V-COCO annotations, VSRL with COCO's instances, for the evaluators' tests."""

import numpy as np
from evaluation_scenes import random_scenes

from ggnet_jax import vocabularies

V_COCO = vocabularies.load("v_coco")
HOLD, CUT_WITH, CUT, POINT, STAND = 25, 2, 4, 23, 27
ACTIONS = {
    "hold": ["agent", "obj"],
    "stand": ["agent"],
    "cut": ["agent", "instr", "obj"],
    "point": ["agent", "instr"],
}


def corners(box):
    x, y, w, h, category = box
    return (x, y, x + w - 1, y + h - 1, category)


def annotation(scenes):
    """VSRL and instances of {image id: (boxes, {box index: {action: {slot: box index}}})}."""
    table = {"image_id": [], "ann_id": [], "label": [], "role_object_id": []}
    vsrl = [
        {"action_name": name, "role_name": roles, "include": [[] for _ in roles]}
        | {key: [] for key in table}
        for name, roles in ACTIONS.items()
    ]
    images, annotations = [], []
    for number, (boxes, people) in scenes.items():
        images.append({"id": number, "file_name": name_of(number), "width": 200, "height": 200})
        for index, (*bbox, category) in enumerate(boxes):
            annotations.append(
                {
                    "id": 1000 + 100 * number + index,
                    "image_id": number,
                    "category_id": category,
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3],
                    "iscrowd": 0,
                }
            )
        for index, does in people.items():
            for action in vsrl:
                objects = does.get(action["action_name"])
                action["image_id"].append(number)
                action["ann_id"].append(1000 + 100 * number + index)
                action["label"].append(int(objects is not None))
                slots = [1000 + 100 * number + index] + [
                    1000 + 100 * number + objects[slot] if objects and slot in objects else 0
                    for slot in range(1, len(action["role_name"]))
                ]
                action["role_object_id"].append(slots)
    for action in vsrl:  # role by role, as released
        action["role_object_id"] = np.array(action["role_object_id"]).T.ravel().tolist()
    return vsrl, {"images": images, "annotations": annotations}


def name_of(number):
    return f"COCO_val2014_{number:012d}.jpg"


def random_split(seed):
    """Random people and predictions; some people have no annotation, some actions no object."""
    rng = np.random.default_rng(seed)
    predictions, images = [], {}
    guesses, entries = random_scenes(seed, vocabulary=V_COCO, name="COCO_val2014_{:012d}.jpg")
    guesses = {entry["file_name"]: entry for entry in guesses}
    roles = [("hold", 1, HOLD), ("cut", 1, CUT_WITH), ("cut", 2, CUT)]
    for index, entry in enumerate(entries):
        boxes, people = [], {}
        for number, one in enumerate(entry["annotations"]):
            x1, y1, x2, y2 = one["bbox"]
            boxes.append((x1, y1, x2 - x1 + 1, y2 - y1 + 1, one["category_id"]))
            if one["category_id"] == 1 and rng.random() < 0.8:
                people[number] = {"hold": {}} if rng.random() < 0.5 else {}
        for relation in entry["hoi_annotation"]:
            action, slot, _ = roles[rng.integers(3)]
            if relation["subject_id"] in people:
                does = people[relation["subject_id"]].setdefault(action, {})
                does[slot] = relation["object_id"]
        images[index] = (boxes, people)
        guess = guesses.get(entry["file_name"])
        if guess and people:
            for pair in guess["hoi_prediction"]:
                pair["category_id"] = roles[rng.integers(3)][2]
            guess["predictions"].append({"bbox": [0, 0, 0, 0], "category_id": 1})
            for pair in guess["hoi_prediction"][::5]:
                pair["object_id"] = len(guess["predictions"]) - 1
            predictions.append(guess)
    return predictions, *annotation(images)
