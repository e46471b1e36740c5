"""Images a second that the input pipeline prepares, and what augmentation costs.

    python -m benchmarks.input_pipeline [--photos=FOLDER] [--size=512] [--batch_size=16]
        [--images=320] [--repeats=5] [--output=FILE]

Builds a data set of the photos of a folder, or of made JPEGs, with made boxes in a temporary
folder, and takes batches for evaluation and for training, with and without augmentation. CPU time
an image is what counts on a shared machine; images/s is what this run got.
"""

import itertools
import json
import os
import resource
import sys
import tempfile
import time
from argparse import ArgumentTypeError
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import data_pipelines
from benchmarks import timing
from benchmarks.inference import make_jpeg
from configs import base

PHOTOS = 300  # in the data set; those of a folder are repeated
# What the batches are for, and the fields of `data.augment` that are switched off.
PIPELINES = {
    "evaluation": (),
    "training": (),
    "training without color": ("color",),
    "training without augmentation": ("color", "crop", "scale", "flip"),
}


def photo_folder(text: str) -> list[Path]:
    """An argument type: the photos in a folder."""
    found = [p for p in Path(text).glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    if not found:
        raise ArgumentTypeError(f"no .jpg, .jpeg or .png in {text!r}")
    return sorted(found)


def make_data_set(photos: Sequence[Path], folder: Path, size: int, batch_size: int) -> Any:
    """(data set, config) of `PHOTOS` images, each with a person, a dog and an interaction."""
    if not photos:
        photos = [folder / f"photo{seed}.jpg" for seed in range(10)]
        for seed, path in enumerate(photos):
            path.write_bytes(make_jpeg(seed=seed))
    (folder / "images").mkdir()
    entries = []
    for index, path in zip(range(PHOTOS), itertools.cycle(photos), strict=False):
        name = f"{index:06}{path.suffix}"
        (folder / "images" / name).symlink_to(path.resolve())
        boxes = [
            {"bbox": [10, 10, 100, 200], "category_id": 1},
            {"bbox": [90, 100, 200, 210], "category_id": 2},
        ]
        pair = {"subject_id": 0, "object_id": 1, "category_id": 1}
        entries.append({"file_name": name, "annotations": boxes, "hoi_annotation": [pair]})
    (folder / "annotations.json").write_text(json.dumps(entries))
    classes = {"objects": {"1": "person", "2": "dog"}, "verbs": {"1": "walk"}}
    (folder / "classes.json").write_text(json.dumps(classes))
    config = base.get_config()
    config.batch_size = config.eval.batch_size = batch_size
    config.data.name = "json"
    config.data.data_dir = str(folder / "prepared")
    config.data.train_annotations = str(folder / "annotations.json")
    config.data.train_images = str(folder / "images")
    config.data.vocabulary = str(folder / "classes.json")
    config.data.eval_split = "train"
    config.data.image_size = (size, size)
    return data_pipelines.load_dataset(config.data), config


def batches_of(name: str, dataset: Any, config: Any) -> Iterator[Any]:
    """Batches without end of one of `PIPELINES`."""
    config = config.copy_and_resolve_references()
    for field in PIPELINES[name]:
        config.data.augment[field] = False
    if name != "evaluation":
        return data_pipelines.train_batches(dataset, config)
    passes = (data_pipelines.eval_batches(dataset, config, "train") for _ in itertools.count())
    return itertools.chain.from_iterable(passes)


def measure(
    batches: Iterator[Any], count: int, repeats: int
) -> tuple[timing.Seconds, timing.Seconds]:
    """Wall seconds and CPU seconds of `count` batches, again and again without a pause.

    (In a pause the pipeline would prefetch some of the next ones.)
    """
    took: list[float] = []
    used: list[float] = []
    for _ in range(repeats + 1):
        start, before = time.perf_counter(), cpu_seconds()
        for _ in range(count):
            next(batches)
        took.append(time.perf_counter() - start)
        used.append(cpu_seconds() - before)
    return timing.seconds(took[1:]), timing.seconds(used[1:])


def cpu_seconds() -> float:
    """CPU time of all threads of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = timing.parser(__doc__, size=512, batch_size=[16], images=320, repeats=5)
    parser.add_argument("--photos", type=photo_folder, default=[], help="a folder of photos")
    arguments = parser.parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is imported on first use
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # as in main.py
    machine = timing.machine("tf.data on the CPU")
    rows: list[dict[str, Any]] = []
    for batch_size in arguments.batch_size:
        count = -(-arguments.images // batch_size)
        images, lines = count * batch_size, []
        with tempfile.TemporaryDirectory() as folder:
            made = make_data_set(arguments.photos, Path(folder), arguments.size, batch_size)
            for name in PIPELINES:
                took, used = measure(batches_of(name, *made), count, arguments.repeats)
                rows.append({"pipeline": name, "size": arguments.size, "batch_size": batch_size})
                rows[-1] |= {"images": images, "seconds": took, "cpu_seconds": used}
                lines.append(
                    {
                        "pipeline": name,
                        "images/s": timing.figure(images / took.median),
                        "ms an image (min to max)": took.ms(images),
                        "CPU ms an image (min to max)": used.ms(images),
                    }
                )
        print(f"{arguments.size} x {arguments.size}, batches of {batch_size}\n")
        print(timing.table(lines) + "\n", flush=True)
        timing.write(arguments.output, machine, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
