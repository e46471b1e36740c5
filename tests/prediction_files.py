"""Prediction files of other repositories, written from PPDM's entries as those write them."""

import json
import pickle
from collections import defaultdict

import numpy as np
import scipy.io

from ggnet_jax import vocabularies

HICO, V_COCO = vocabularies.load("hico_det"), vocabularies.load("v_coco")
ROLES = dict(zip(V_COCO.verb_ids, V_COCO.verbs, strict=True))
ACTIONS = [*dict.fromkeys(name.rpartition("_")[0] for name in V_COCO.verbs)]
ACTIONS += ["walk", "smile", "run", "stand"]


class CacheTemplate(defaultdict):
    """What UPT and PViC fill with predictions; a file with it names this module and class."""

    def __init__(self, **known):
        super().__init__()
        self.update(known)

    def __missing__(self, key):
        return 0.0 if key.endswith("_agent") else [0.0, 0.0, 0.1, 0.1, 0.0]


def triplets(entries):
    """(file name, human box, object box, category, verb id, score) of PPDM's entries."""
    for entry in entries:
        boxes = entry["predictions"]
        for pair in entry["hoi_prediction"]:
            human, target = boxes[pair["subject_id"]], boxes[pair["object_id"]]
            yield (
                entry["file_name"],
                human["bbox"],
                target["bbox"],
                target["category_id"],
                pair["category_id"],
                pair["score"],
            )


def hico_class(category, verb):
    pair = HICO.verb_ids.index(verb), HICO.object_ids.index(category)
    return HICO.classes.index(pair)


def hico_cells(entries, file_names):
    """600 x I lists of rows (human box, object box, score)."""
    cells = [[[] for _ in file_names] for _ in range(600)]
    for name, human, target, category, verb, score in triplets(entries):
        cells[hico_class(category, verb)][file_names.index(name)].append([*human, *target, score])
    return cells


def write_hico_mats(folder, entries, file_names, *, packed=False, dtype=np.float64):
    """`detections_01.mat` .. `_80.mat` for the Matlab code."""
    folder.mkdir()
    cells = hico_cells(entries, file_names)
    for number in range(80):
        rows = [i for i, (_, obj) in enumerate(HICO.classes) if obj == number]
        array = np.empty((len(rows), len(file_names)), object)
        for row, index in enumerate(rows):
            for column, found in enumerate(cells[index]):
                array[row, column] = np.array(found, dtype) if found else np.zeros((0, 0))
        scipy.io.savemat(
            folder / f"detections_{number + 1:02d}.mat", {"all_boxes": array}, do_compression=packed
        )
    return folder


def hico_by_class(entries):
    """INP-CC's three dictionaries."""
    table = {key: {index: [] for index in range(600)} for key in ("scores", "boxes", "keys")}
    for name, human, target, category, verb, score in triplets(entries):
        index = hico_class(category, verb)
        table["scores"][index].append(score)
        table["boxes"][index].append([*human, *target])
        table["keys"][index].append(int(name[-12:-4]))
    return table


def vcoco_list(entries, kind=dict):
    """A dictionary for each prediction, as UPT (`CacheTemplate`) writes them."""
    result = []
    for name, human, target, _, verb, score in triplets(entries):
        action = ROLES[verb].rpartition("_")[0]
        result.append(kind(image_id=int(name[-16:-4]), person_box=list(human)))
        result[-1][f"{action}_agent"] = score
        result[-1][ROLES[verb]] = [*target, score]
    return result


def pocket_hico(entries):
    """pocket's `instances_test2015.json` of annotation entries."""
    images = []
    for entry in entries:
        image = {key: [] for key in ("boxes_h", "boxes_o", "hoi", "object", "verb")}
        for pair in entry["hoi_annotation"]:
            human, target = (entry["annotations"][pair[key]] for key in ("subject_id", "object_id"))
            image["boxes_h"].append(human["bbox"])
            image["boxes_o"].append(target["bbox"])
            image["hoi"].append(hico_class(target["category_id"], pair["category_id"]))
            image["object"].append(HICO.object_ids.index(target["category_id"]))
            image["verb"].append(pair["category_id"] - 1)
        images.append(image)
    return {
        "annotation": images,
        "filenames": [entry["file_name"] for entry in entries],
        "size": [[entry.get("width", 640), entry.get("height", 480)] for entry in entries],
        "empty": [i for i, entry in enumerate(entries) if not entry["hoi_annotation"]],
        "objects": list(HICO.objects),
        "verbs": list(HICO.verbs),
        "correspondence": [[i, obj, verb] for i, (verb, obj) in enumerate(HICO.classes)],
    }


def pocket_vcoco(entries):
    """pocket's `instances_vcoco_*.json` of annotation entries."""
    names = [name for name in V_COCO.verbs if name != "point_instr"]
    objects = ["background", *(name.replace("_", " ") for name in V_COCO.objects)]
    images = []
    for entry in entries:
        image = {key: [] for key in ("boxes_h", "boxes_o", "actions", "objects")}
        for pair in entry["hoi_annotation"]:
            human, target = (entry["annotations"][pair[key]] for key in ("subject_id", "object_id"))
            image["boxes_h"].append(human["bbox"])
            image["boxes_o"].append(target["bbox"])
            image["actions"].append(names.index(ROLES[pair["category_id"]]))
            image["objects"].append(1 + V_COCO.object_ids.index(target["category_id"]))
        images.append({**image, "file_name": entry["file_name"]})
    return {
        "annotations": images,
        "classes": [" ".join(name.rsplit("_", 1)) for name in names],
        "objects": objects,
        "images": [int(entry["file_name"][-16:-4]) for entry in entries],
    }


def write_pickle(path, value, protocol=2):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def write_json(path, value):
    path.write_text(json.dumps(value))
    return path
