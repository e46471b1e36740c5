"""The TFDS builder that every HOI data set of the project derives from.

A data set says which vocabulary it has, what its entries are and how the bytes of a picture are
had; this base cleans the entries (annotations.py), makes the pictures fit (pictures.py), writes the
examples in the order of the entries, prints what it found dirty at the end of every split and
keeps that, the vocabulary and the statistics that training needs in the builder's metadata:

    vocabulary   Vocabulary.to_dict()
    reports      {split: Report.to_dict()}
    statistics   {split: Statistics.to_dict()}
    lost         {split: entries whose picture could not be had, for evaluation to count as missed}
"""

import collections
import concurrent.futures
import dataclasses
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from data_pipelines import annotations, pictures
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary

Entry = Mapping[str, Any]
ReadPicture = Callable[[Entry], bytes]


def features() -> tfds.features.FeaturesDict:
    """What an example holds; boxes are cleaned, in 0-based picture pixels."""
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "file_name": tfds.features.Text(),
            "image_id": np.int64,  # index in the split
            "width": np.int64,
            "height": np.int64,
            "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
            "classes": tfds.features.Tensor(shape=(None,), dtype=np.int64),
            # (human box, object box, verb), all indices.
            "relations": tfds.features.Tensor(shape=(None, 3), dtype=np.int64),
            "annotation": tfds.features.Text(),  # the entry as JSON, boxes untouched
        }
    )


@dataclasses.dataclass
class Statistics:
    """What the input pipeline must know of a split without reading it.

    Attributes:
      pictures: number of examples.
      boxes: how many pictures have how many boxes.
      relations: how many pictures have how many relations.
      pairs: number of relations of each (object, verb).
    """

    pictures: int = 0
    boxes: Counter[int] = dataclasses.field(default_factory=Counter)
    relations: Counter[int] = dataclasses.field(default_factory=Counter)
    pairs: Counter[tuple[int, int]] = dataclasses.field(default_factory=Counter)

    def add(self, classes: np.ndarray, relations: np.ndarray) -> None:
        """Count one picture's boxes ([n] object indices) and relations ([m, 3])."""
        self.pictures += 1
        self.boxes[len(classes)] += 1
        self.relations[len(relations)] += 1
        self.pairs.update((int(classes[thing]), int(verb)) for _, thing, verb in relations)

    def merge(self, other: "Statistics") -> None:
        """Add another split's counts."""
        self.pictures += other.pictures
        self.boxes.update(other.boxes)
        self.relations.update(other.relations)
        self.pairs.update(other.pairs)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `Statistics.from_dict` is the inverse."""
        return {
            "pictures": self.pictures,
            "boxes": sorted(map(list, self.boxes.items())),
            "relations": sorted(map(list, self.relations.items())),
            "pairs": sorted([*pair, number] for pair, number in self.pairs.items()),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Statistics":
        """The inverse of `to_dict`."""
        return cls(
            pictures=int(fields["pictures"]),
            boxes=Counter({int(k): int(n) for k, n in fields["boxes"]}),
            relations=Counter({int(k): int(n) for k, n in fields["relations"]}),
            pairs=Counter({(int(o), int(v)): int(n) for o, v, n in fields["pairs"]}),
        )


class HoiBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of the builders; a subclass has `load_vocabulary` and `_split_generators`.

    `_split_generators` returns {split: self._generate_examples(split, entries, read_picture)}.
    The subclass's docstring becomes the data set's description.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012  (TFDS reads a plain class attribute)

    @classmethod
    def from_config(cls, data: Any) -> "HoiBuilder":
        """The builder that `config.data` describes."""
        return cls(data_dir=data.data_dir or None)

    def check_current(self) -> None:
        """Raise a UserError if the prepared data set is not what its files would give now."""

    def load_vocabulary(self) -> Vocabulary:
        """The classes that the examples' indices refer to."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=features(),
            disable_shuffling=True,  # example k is entry k; the input pipeline shuffles
            metadata=tfds.core.MetadataDict(),
        )

    def _generate_examples(
        self,
        split: str,
        entries: Sequence[Any],
        read_picture: ReadPicture,
        *,
        one_based: bool = False,
        upright: bool = False,
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (index, example) for every entry with a picture, then print and keep the report.

        Args:
          split: its name.
          entries: PPDM's format, dirt included.
          read_picture: the encoded picture of an entry whose `file_name` is clean; it may be called
            in threads. An OSError counts the picture as missing or unreadable.
          one_based: the entries' first pixel is (1, 1).
          upright: apply EXIF rotations where the annotated size does not tell.

        Raises:
          UserError: no picture at all could be used.
        """
        vocabulary = self.load_vocabulary()
        report, statistics, lost = annotations.Report(), Statistics(), []
        usable = _unique(entries, report)

        def load(entry: Entry) -> tuple[Entry, annotations.Report, pictures.Picture | None]:
            found = annotations.Report()
            return entry, found, _load_picture(entry, read_picture, upright, found)

        for entry, found, picture in tqdm(
            _map_ahead(load, usable),
            total=len(usable),
            desc=f"{self.name}: {split}",
            unit=" pictures",
            disable=None,  # no bar where nobody looks: logs, tests
        ):
            report.merge(found)
            size = (picture.width, picture.height) if picture else None
            cleaned = annotations.clean(entry, vocabulary, report, one_based=one_based, size=size)
            if picture is None:
                lost.append(annotations.evaluation_entry(entry))
                continue
            index = statistics.pictures
            statistics.add(cleaned.classes, cleaned.relations)
            yield (
                index,
                {
                    "image": picture.data,
                    "file_name": annotations.picture_name(entry),
                    "image_id": index,
                    "width": picture.width,
                    "height": picture.height,
                    "boxes": cleaned.boxes,
                    "classes": cleaned.classes,
                    "relations": cleaned.relations,
                    "annotation": json.dumps(entry),
                },
            )
        tqdm.write(report.table(f"{self.name}, split {split}"), file=sys.stderr)
        if not statistics.pictures:
            raise UserError(
                f"no picture of {self.name}'s split {split!r} could be used; see the report above "
                "and check the picture folder"
            )
        self.info.metadata["vocabulary"] = vocabulary.to_dict()
        for key, value in (
            ("reports", report.to_dict()),
            ("statistics", statistics.to_dict()),
            ("lost", lost),
        ):
            self.info.metadata.setdefault(key, {})[split] = value


def _unique(entries: Iterable[Any], report: annotations.Report) -> list[Entry]:
    """The entries that have a name, each picture once, names without stray white space."""
    usable: dict[str, Entry] = {}
    for index, entry in enumerate(entries):
        name = annotations.picture_name(entry)
        if name is None:
            report.add("entry_malformed", f"entry {index}, {entry!r:.80}")
            report.entries += 1
        elif name in usable:
            report.add("picture_twice", f"entry {index}, {name}")
            report.entries += 1
        else:
            if name != entry["file_name"]:
                report.add("string_id", f"entry {index}, {entry['file_name']!r}")
                entry = {**entry, "file_name": name}
            usable[name] = entry
    return list(usable.values())


def _load_picture(
    entry: Entry, read_picture: ReadPicture, upright: bool, report: annotations.Report
) -> pictures.Picture | None:
    name = entry["file_name"]
    try:
        data = read_picture(entry)
    except FileNotFoundError as error:
        report.add("picture_missing", f"{name}: {error.filename or error}")
        return None
    except (OSError, ValueError) as error:  # ValueError: no file can have that name
        report.add("picture_unreadable", f"{name}: {getattr(error, 'strerror', None) or error}")
        return None
    try:
        return pictures.prepare(
            data,
            name=name,
            report=report,
            annotated=annotations.annotated_size(entry),
            upright=upright,
        )
    except Exception as error:  # decoders fail on broken files in more ways than they document
        report.add("picture_unreadable", f"{name}: {type(error).__name__}: {error}")
        return None


def _map_ahead(function: Callable, items: Sequence) -> Iterator:
    """`map` in threads, in order, with no more results waiting than keep the threads busy."""
    threads = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        waiting: collections.deque[concurrent.futures.Future] = collections.deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
