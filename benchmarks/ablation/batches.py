"""Batches on disk: made by the input pipeline once, read without TensorFlow.

data.json         what the batches were made from
vocabulary.json   as in a run's folder
truth.json        annotation of the evaluation pictures
train.npz         every different example that some batch holds, pictures as uint8
test.npz          the evaluation pictures, in order
order_<seed>.npy  [steps, B] the examples of each batch of a training
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import folder as workdir

DATA, TRUTH, TRAIN, TEST = "data.json", "truth.json", "train.npz", "test.npz"
_ARRAYS = ("boxes", "classes", "box_valid", "relations", "relation_valid", "image_id", "size")

Batch = dict[str, np.ndarray]
Say = Callable[[str], None]


class Batches:
    """The batches in a folder; all pictures are held in memory."""

    def __init__(self, folder: str | Path):
        """Read a folder that `write` wrote.

        Raises:
          UserError: it holds no batches.
        """
        self._folder = Path(folder)
        try:
            self.truth = json.loads((self._folder / TRUTH).read_text())
            self.vocabulary = json.loads((self._folder / workdir.VOCABULARY).read_text())
            self._train = _read(self._folder / TRAIN)
            self._test = _read(self._folder / TEST)
        except (OSError, ValueError) as error:
            raise UserError(f"no batches to read in {folder}: {error}") from error

    @property
    def verbs_of_object(self) -> np.ndarray:
        """[O, V] bool, the pairs seen in training."""
        return np.array(self.vocabulary["verbs_of_object"], bool)

    def order(self, seed: int) -> np.ndarray:
        """[steps, B] rows of the examples in each batch.

        Raises:
          UserError: batches of this seed were not written.
        """
        path = self._folder / order_file(seed)
        if not path.is_file():
            raise UserError(
                f"{path} is missing: batches of seed {seed} must be written first, where "
                "TensorFlow is installed (--prepare)"
            )
        return np.load(path)

    def train(self, seed: int, start_step: int = 0) -> Iterator[Batch]:
        """What `data_pipelines.train_batches` gives, save that pictures are uint8; to the end."""
        for rows in self.order(seed)[start_step:]:
            batch = {name: values[rows] for name, values in self._train.items()}
            yield batch | {"example_weight": np.ones(len(rows), np.float32)}

    def test(self, size: int) -> Iterator[Batch]:
        """The evaluation pictures in batches of `size`; the last is padded with weight 0."""
        count = len(self._test["image_id"])
        for start in range(0, count, size):
            rows = np.arange(start, start + size)
            real = rows < count
            rows = np.where(real, rows, start)
            batch = {name: values[rows] for name, values in self._test.items()}
            yield batch | {"example_weight": real.astype(np.float32)}


def order_file(seed: int) -> str:
    """Name of the file with a seed's batches."""
    return f"order_{seed}.npy"


def source(config: Any) -> dict[str, Any]:
    """What batches depend on, save the seed: fields of a configuration as JSON holds them."""
    fields = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    kept = {"data": dict(fields["data"])}
    kept |= {name: fields[name] for name in ("batch_size", "num_epochs")}
    kept["data"].pop("data_dir")
    return json.loads(json.dumps(kept))


def missing(folder: str | Path, seeds: list[int]) -> list[int]:
    """The seeds whose batches are not in a folder."""
    folder = Path(folder)
    if not all((folder / name).is_file() for name in (DATA, TRUTH, TRAIN, TEST)):
        return list(seeds)
    return [seed for seed in seeds if not (folder / order_file(seed)).is_file()]


def check_source(folder: str | Path, config: Any) -> None:
    """Raise a UserError if the batches in a folder were made for another configuration."""
    path = Path(folder) / DATA
    if path.is_file() and json.loads(path.read_text()) != source(config):
        raise UserError(
            f"the batches in {folder} were made with other data or another budget ({DATA} "
            "differs from the configuration); use a new --workdir"
        )


def write(folder: str | Path, config: Any, seeds: list[int], say: Say = print) -> None:
    """Write the batches of some seeds with the input pipeline; what is there is kept.

    Args:
      folder: made if need be.
      config: a ConfigDict; its `seed` is not looked at.
      seeds: of the order of the pictures and their augmentation.
      say: told what is being done.

    Raises:
      UserError: the folder is of another configuration, or pictures are augmented in a way that
        8 bits can't hold.
    """
    folder = Path(folder)
    check_source(folder, config)
    seeds = missing(folder, seeds)
    if not seeds:
        return
    import data_pipelines  # and with it TensorFlow

    folder.mkdir(parents=True, exist_ok=True)
    dataset = data_pipelines.load_dataset(config.data)
    words = dataset.vocabulary.to_dict()
    words["verbs_of_object"] = np.asarray(dataset.verbs_of_object, bool).tolist()
    split = config.data.eval_split
    if not (folder / TEST).is_file():
        say(f"writing {dataset.num_eval} evaluation pictures to {folder}")
        examples = _Examples()
        for batch in data_pipelines.eval_batches(dataset, config, split):
            examples.add(batch)
        examples.save(folder / TEST)
    io.write_json(folder / TRUTH, dataset.ground_truth(split))
    io.write_json(folder / workdir.VOCABULARY, words)
    steps = config.num_epochs * data_pipelines.steps_per_epoch(dataset, config)
    examples = _Examples(folder / TRAIN)
    for seed in seeds:
        say(f"writing {steps} batches of seed {seed} to {folder}")
        seeded = config.copy_and_resolve_references()
        seeded.seed = seed
        batches = data_pipelines.train_batches(dataset, seeded)
        order = np.stack([examples.add(next(batches)) for _ in range(steps)])
        examples.save(folder / TRAIN)
        _replace(folder / order_file(seed), lambda file, order=order: np.save(file, order))
    io.write_json(folder / DATA, source(config))


class _Examples:
    """Different examples under consecutive numbers."""

    def __init__(self, path: Path | None = None):
        self._rows: list[Mapping[str, np.ndarray]] = []
        self._number: dict[bytes, int] = {}
        if path is not None and path.is_file():
            arrays = _read(path)
            for row in range(len(arrays["image"])):
                self._put({name: values[row] for name, values in arrays.items()})

    def add(self, batch: Batch) -> np.ndarray:
        """Numbers [B] of a batch's examples, padding left out; unknown ones are added."""
        images = batch["image"]
        if images.dtype != np.uint8:
            whole = np.round(images * 255)
            if np.abs(images * 255 - whole).max() > 0.01 or whole.min() < 0 or whole.max() > 255:
                raise UserError(
                    "batches on disk hold pictures of 8 bits; switch off data.augment.color, "
                    ".scale and .crop"
                )
            images = whole.astype(np.uint8)
        real = np.flatnonzero(batch["example_weight"] > 0)
        return np.array(
            [
                self._put({"image": images[row]} | {name: batch[name][row] for name in _ARRAYS})
                for row in real
            ]
        )

    def save(self, path: Path) -> None:
        arrays = {name: np.stack([row[name] for row in self._rows]) for name in self._rows[0]}
        _replace(path, lambda file: np.savez_compressed(file, **arrays))

    def _put(self, example: Mapping[str, np.ndarray]) -> int:
        key = b"".join(np.ascontiguousarray(example[name]).tobytes() for name in sorted(example))
        if key not in self._number:
            self._number[key] = len(self._rows)
            self._rows.append(example)
        return self._number[key]


def _read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _replace(path: Path, save: Callable[[Any], None]) -> None:
    """Write a file so that it is at every moment absent, old or new."""
    draft = path.with_name(path.name + ".unfinished")
    with draft.open("wb") as file:
        save(file)
    os.replace(draft, path)
