"""Label Studio's export of annotated images, written out by hand after its own sources."""

import json
import uuid

from data_pipelines.figures_hoi import scenes


def rectangle(identity, label, box, size=(64, 48), **value):
    """A region's result: a box in pixels as percent of the image."""
    x1, y1, x2, y2 = box
    width, height = size
    return {
        "id": identity,
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "origin": "manual",
        "value": {
            "x": 100 * x1 / width,
            "y": 100 * y1 / height,
            "width": 100 * (x2 - x1) / width,
            "height": 100 * (y2 - y1) / height,
            "rotation": 0,
            "rectanglelabels": [label],
            **value,
        },
    }


def relation(first, second, labels=("walk",), direction="right"):
    """A relation's result; `labels` None is one without labels."""
    result = {"from_id": first, "to_id": second, "type": "relation", "direction": direction}
    return result if labels is None else {**result, "labels": list(labels)}


def annotation(*results, **fields):
    return {
        "id": 1,
        "completed_by": 1,
        "result": list(results),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-11-26T10:00:00.000000Z",
        "updated_at": "2026-11-26T10:00:00.000000Z",
        **fields,
    }


def task(number, image, *annotations, **fields):
    return {
        "id": number,
        "annotations": list(annotations),
        "file_upload": None,
        "drafts": [],
        "predictions": [],
        "data": {"image": image},
        "meta": {},
        "project": 1,
        **fields,
    }


def of_entries(entries, vocabulary, prefix="/data/local-files/?d=photos/"):
    """The export of images with PPDM's annotations; verbs of one pair share a relation."""
    objects = dict(zip(vocabulary.object_ids, vocabulary.objects, strict=True))
    verbs = dict(zip(vocabulary.verb_ids, vocabulary.verbs, strict=True))
    tasks = []
    for number, entry in enumerate(entries, 1):
        ids = [f"r{index}" for index in range(len(entry["annotations"]))]
        size = entry["width"], entry["height"]
        boxes = [
            rectangle(identity, objects[box["category_id"]], box["bbox"], size)
            for identity, box in zip(ids, entry["annotations"], strict=True)
        ]
        pairs = {}
        for pair in entry["hoi_annotation"]:
            ends = ids[pair["subject_id"]], ids[pair["object_id"]]
            pairs.setdefault(ends, []).append(verbs[pair["category_id"]])
        relations = [relation(*ends, labels) for ends, labels in pairs.items()]
        tasks.append(task(number, prefix + entry["file_name"], annotation(*boxes, *relations)))
    return tasks


def write_rendered(folder, number, *, size=128, seed=0, split="train"):
    """Rendered images in `folder / "photos"`, a class list, and the export of their annotation.

    Returns:
        Their entries in PPDM's format.
    """
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    entries = []
    for index in range(number):
        scene = scenes.compose(seed, split, index)
        entry = scenes.entry(scene, split, index, size)
        (folder / "photos" / entry["file_name"]).write_bytes(
            scenes.encode(scenes.render(scene, size))
        )
        entries.append(entry)
    words = scenes.vocabulary()
    classes = {
        "objects": dict(zip(map(str, words.object_ids), words.objects, strict=True)),
        "verbs": dict(zip(map(str, words.verb_ids), words.verbs, strict=True)),
    }
    (folder / "classes.json").write_text(json.dumps(classes))
    (folder / "export.json").write_text(json.dumps(of_entries(entries, words)))
    return entries


def uploaded(name):
    """Where Label Studio puts an uploaded file."""
    return f"/data/upload/1/{str(uuid.UUID(int=0xAB12CD34 << 96))[:8]}-{name}"
