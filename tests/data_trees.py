"""What the tests of the data sets share: image files, and configs that point at them."""

import json

import tensorflow_datasets as tfds
from ml_collections import ConfigDict
from PIL import Image

from configs import base

SIZE = (64, 48)  # width, height
CLASSES = {"objects": {"1": "person", "2": "dog"}, "verbs": {"1": "walk", "2": "feed"}}


def write_images(folder, names, size=SIZE):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size, (number * 20, 100, 50)).save(folder / name)


def config_of(folder, name, **data):
    """The base config with the data set `name`, which is prepared in `folder`."""
    config: ConfigDict = base.get_config()
    config.data.update(name=name, data_dir=str(folder / "prepared"), **data)
    return config


def own_config(folder, train, test, classes=CLASSES):
    """A config of anyone's own data; the images are those in `folder / "images"`."""
    files = {}
    for key, split, entries in (("train", "train", train), ("eval", "test", test)):
        (folder / f"{split}.json").write_text(json.dumps(entries))
        files[f"{key}_annotations"] = str(folder / f"{split}.json")
        files[f"{key}_images"] = str(folder / "images")
    (folder / "classes.json").write_text(json.dumps(classes))
    return config_of(folder, "json", vocabulary=str(folder / "classes.json"), **files)


def examples(builder, split):
    return list(tfds.as_numpy(builder.as_dataset(split)))


VSRL = [
    {
        "action_name": "cut",
        "role_name": ["agent", "instr", "obj"],
        "image_id": [7, 7, 9],
        "ann_id": [70, 71, 90],
        "label": [1, 0, 1],
        # All rows of the agent, then of the instrument, then of the object.
        "role_object_id": [70, 71, 90, 72, 0, 0, 73, 0, 0],
    },
    {
        "action_name": "stand",
        "role_name": ["agent"],
        "image_id": [7, 7, 9],
        "ann_id": [70, 71, 90],
        "label": [1, 1, 1],
        "role_object_id": [70, 71, 90],
    },
]


def coco_instances():
    boxes = {70: (7, 1), 71: (7, 1), 72: (7, 49), 73: (7, 55), 74: (7, 1), 90: (9, 1)}
    return {
        "images": [
            {"id": image, "file_name": f"COCO_train2014_{image:012}.jpg", "width": 64, "height": 48}
            for image in (7, 8, 9)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": category,
                "bbox": [number - 70, 2.5, 10, 20],
                "iscrowd": int(number == 74),
            }
            for number, (image, category) in boxes.items()
        ],
    }
