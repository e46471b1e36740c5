"""The TFDS builder that every HOI data set of the project derives from.

A data set says which vocabulary it has, what its entries are and how to read the bytes of an image.
This base cleans the entries (annotations.py), converts the images (images.py), writes the examples
in the order of the entries, prints the data report at the end of every split, and keeps that, the
vocabulary and the statistics that training needs in the builder's metadata:

    vocabulary   Vocabulary.to_dict()
    reports      {split: Report.to_dict()}
    statistics   {split: Statistics.to_dict()}
    lost         {split: entries whose image could not be read, for evaluation to count as missed}
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from data_pipelines import annotations, images, plausibility
from data_pipelines.merging import unique_entries
from data_pipelines.report import Report
from data_pipelines.statistics import Statistics
from ggnet_jax.errors import UserError
from ggnet_jax.inference.prefetch import prefetch
from ggnet_jax.vocabularies import Vocabulary

Entry = Mapping[str, Any]
ReadImage = Callable[[Entry], bytes]


def features() -> tfds.features.FeaturesDict:
    """What an example holds; boxes are cleaned, in 0-based image pixels."""
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


class HoiBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of the builders; a subclass has `load_vocabulary` and `_split_generators`.

    `_split_generators` returns {split: self._generate_examples(split, entries, read_image)}.
    The subclass's docstring becomes the data set's description.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012  (TFDS reads a plain class attribute)

    accept_losses = False  # train although most annotations are lost; see plausibility.py

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes: dict[str, list[str]] = {}  # how a split's files were read, for its report

    @classmethod
    def from_config(cls, data: Any) -> "HoiBuilder":
        """The builder that `config.data` describes."""
        return cls(data_dir=data.data_dir or None)

    @property
    def metadata(self) -> dict[str, Any]:
        """What is kept beside the examples, see above; empty until the data set is prepared."""
        return cast(dict[str, Any], self.info.metadata)

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
        read_image: ReadImage,
        *,
        one_based: bool = False,
        upright: bool = False,
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (index, example) for every entry with an image, then print and keep the report.

        Args:
            split: its name.
            entries: PPDM's format, malformed ones included.
            read_image: returns the encoded image of an entry whose `file_name` is clean; it may be
                called in threads. An OSError counts the image as missing or unreadable.
            one_based: the entries' first pixel is (1, 1).
            upright: apply EXIF rotations where the annotated size does not tell.

        Raises:
            UserError: not a single image could be used.
        """
        vocabulary = self.load_vocabulary()
        report, statistics, lost = Report(), Statistics(), []
        report.notes += self.notes.get(split, [])
        usable = unique_entries(entries, report)
        sizes: dict[str, tuple[int, int]] = {}
        title = f"{self.name}, split {split}"
        tqdm.write(f"Preparing {title}: {len(usable)} images", file=sys.stderr)

        def load(entry: Entry) -> tuple[Entry, Report, images.EncodedImage | None]:
            found = Report()
            return entry, found, _load_image(entry, read_image, upright, found)

        threads = os.cpu_count() or 1
        loads = prefetch(load, usable, depth=4 * threads, threads=threads)
        for loaded in tqdm(
            loads,
            total=len(usable),
            desc=title,
            unit=" images",
            disable=None,  # no bar where nobody looks: logs, tests
        ):
            entry, found, image = loaded.result()
            report.merge(found)
            size = (image.width, image.height) if image else None
            cleaned = annotations.clean(entry, vocabulary, report, one_based=one_based, size=size)
            if image is None:
                lost.append(annotations.evaluation_entry(entry))
                continue
            sizes[entry["file_name"]] = image.width, image.height
            index = statistics.images
            statistics.add(cleaned.classes, cleaned.relations)
            yield (
                index,
                {
                    "image": image.data,
                    "file_name": entry["file_name"],
                    "image_id": index,
                    "width": image.width,
                    "height": image.height,
                    "boxes": cleaned.boxes,
                    "classes": cleaned.classes,
                    "relations": cleaned.relations,
                    "annotation": json.dumps(entry),
                },
            )
        tqdm.write(report.table(title), file=sys.stderr)
        if not statistics.images:
            raise UserError(
                f"no image of {self.name}'s split {split!r} could be used; see the data report "
                "above and check the image folder"
            )
        plausibility.check_built(
            usable,
            statistics,
            title,
            sizes,
            trained=split == "train",
            accept_losses=self.accept_losses,
        )
        self.metadata["vocabulary"] = vocabulary.to_dict()
        for key, value in (
            ("reports", report.to_dict()),
            ("statistics", statistics.to_dict()),
            ("lost", lost),
        ):
            self.metadata.setdefault(key, {})[split] = value


def _load_image(
    entry: Entry, read_image: ReadImage, upright: bool, report: Report
) -> images.EncodedImage | None:
    """The image made fit, or None with the reason reported."""
    name = entry["file_name"]
    try:
        data = read_image(entry)
    except FileNotFoundError as error:
        report.add("image_missing", f"{name}: {error.filename or error}")
        return None
    except (OSError, ValueError) as error:  # ValueError: no file can have that name
        report.add("image_unreadable", f"{name}: {getattr(error, 'strerror', None) or error}")
        return None
    try:
        return images.prepare(
            data,
            name=name,
            report=report,
            annotated=annotations.annotated_size(entry),
            upright=upright,
        )
    except Exception as error:  # decoders fail on broken files in more ways than they document
        report.add("image_unreadable", f"{name}: {type(error).__name__}: {error}")
        return None
