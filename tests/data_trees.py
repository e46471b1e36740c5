"""What the tests of the data sets share: picture files and a config that points at them."""

from PIL import Image

from configs import base

SIZE = (64, 48)  # width, height


def write_pictures(folder, names, size=SIZE):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size, (number * 20, 100, 50)).save(folder / name)


def config_of(tmp_path, name, **data):
    config = base.get_config()
    config.data.update(name=name, data_dir=str(tmp_path / "prepared"), **data)
    return config


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
