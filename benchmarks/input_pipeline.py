"""How many pictures a second the input pipeline makes, and where its time goes.

    python benchmarks/input_pipeline.py --images=FOLDER [--size=512] [--number=300]

Repeats the pictures of a folder (with made-up boxes) until there are enough, builds a data set of
them in a temporary folder, and runs the training pipeline up to one stage after the other. CPU time
a picture is what counts on a shared machine; pictures a second is what this run got.
"""

import argparse
import itertools
import json
import os
import resource
import tempfile
import time
from pathlib import Path

import tensorflow as tf

import data_pipelines
from configs import base
from data_pipelines import augment, records

BATCH = 16


def prepare(images: Path, number: int, size: int, workdir: Path):
    """(data set, config) of `number` pictures, each with a person, a dog and a relation."""
    found = sorted(path for path in images.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    if not found:
        raise SystemExit(f"no .jpg or .png in {images}")
    (workdir / "images").mkdir()
    entries = []
    for index, path in zip(range(number), itertools.cycle(found), strict=False):
        name = f"{index:06}{path.suffix}"
        (workdir / "images" / name).symlink_to(path.resolve())
        boxes = [
            {"bbox": [10, 10, 100, 200], "category_id": 1},
            {"bbox": [90, 100, 200, 210], "category_id": 2},
        ]
        relation = {"subject_id": 0, "object_id": 1, "category_id": 1}
        entries.append({"file_name": name, "annotations": boxes, "hoi_annotation": [relation]})
    (workdir / "annotations.json").write_text(json.dumps(entries))
    classes = {"objects": {"1": "person", "2": "dog"}, "verbs": {"1": "walk"}}
    (workdir / "classes.json").write_text(json.dumps(classes))
    config = base.get_config()
    config.batch_size = BATCH
    config.data.name = "json"
    config.data.data_dir = str(workdir / "prepared")
    config.data.train_annotations = str(workdir / "annotations.json")
    config.data.train_images = str(workdir / "images")
    config.data.vocabulary = str(workdir / "classes.json")
    config.data.eval_split = "train"
    config.data.image_size = (size, size)
    return data_pipelines.load_dataset(config.data), config


def stages(dataset, config):
    """{name: iterator of batches}, each doing everything up to its stage."""
    index = records.index_split(dataset.builder, "train")
    size = tuple(config.data.image_size)

    def upto(stage: int):
        def load(step):
            position = step % len(index)
            serialized = index.read(position)
            if stage == 0:
                return tf.strings.length(serialized)
            example = records.parse(dataset.builder, serialized)
            picture = tf.io.decode_image(example["image"], channels=3, expand_animations=False)
            if stage == 1:
                return tf.reduce_max(picture)
            key = augment.example_key(0, 0, position)
            drawn = augment.draw(key, example["width"], example["height"])
            matrix = augment.warp_matrix(example["width"], example["height"], size, drawn)
            image = augment.warp_image(picture, matrix, size)
            if stage == 2:
                return image[0, 0]
            return augment.color(image, drawn)[0, 0]

        mapped = tf.data.Dataset.counter().map(load, tf.data.AUTOTUNE, deterministic=True)
        return mapped.batch(BATCH).prefetch(2).as_numpy_iterator()

    names = ("read", "+ decode", "+ draw and warp", "+ colour")
    yield from ((name, upto(stage)) for stage, name in enumerate(names))
    yield "training, whole", data_pipelines.train_batches(dataset, config)
    yield "evaluation, whole", evaluation_forever(dataset, config)


def evaluation_forever(dataset, config):
    """Evaluation batches without end."""
    while True:
        yield from data_pipelines.eval_batches(dataset, config, "train")


def measure(batches, seconds: float) -> tuple[float, float]:
    """(pictures a second, CPU milliseconds a picture) after two batches of warming up."""

    def cpu() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    for _ in range(2):
        next(batches)
    number, used, start = 0, cpu(), time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(batches)
        number += BATCH
    return number / (time.perf_counter() - start), 1e3 * (cpu() - used) / number


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset, config = prepare(args.images, args.number, args.size, Path(folder))

        print(f"{args.number} pictures, {args.size} px, {os.cpu_count()} cores")
        print(f"{'stage':<20}{'pictures/s':>12}{'CPU ms/picture':>16}   load")
        for name, batches in stages(dataset, config):
            rate, cost = measure(batches, args.seconds)
            print(f"{name:<20}{rate:>12.1f}{cost:>16.2f}   {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
