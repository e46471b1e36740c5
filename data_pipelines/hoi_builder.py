"""The TFDS builder that every HOI data set of the project derives from.

A data set says which vocabulary it has, what its entries are and how to read the bytes of an image.
This base cleans the entries (annotations.py), converts the images (images.py), writes the examples
in the order of the entries, prints the data report at the end of every split, and keeps that, the
vocabulary and the statistics that training needs in the builder's metadata:

    vocabulary   Vocabulary.to_dict()
    reports      {split: Report.to_dict()}
    statistics   {split: Statistics.to_dict()}
    lost         {split: entries whose image could not be read, for evaluation to count as missed}
    images       {split: a checksum of every example's image, for splits not to share any}
    digest       of all of it, so that damage is noticed
"""

import hashlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from data_pipelines import annotations, images, plausibility, records, shards
from data_pipelines.image_folders import OutsideError
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
    max_pixels = images.MAX_PIXELS  # of the largest image that is read

    @classmethod
    def from_config(cls, data: Any) -> "HoiBuilder":
        """The builder that `config.data` describes."""
        return cls(data_dir=data.data_dir or None)

    def __init__(self, **kwargs: Any):
        """Take TFDS's arguments; a `DamagedError` says that the prepared data set is no good."""
        self.notes: dict[str, list[str]] = {}  # how a split's files were read, for its report
        try:
            super().__init__(**kwargs)
        except UserError:
            raise
        except Exception as error:  # TFDS reads the folder as soon as it knows where it is
            if not hasattr(self, "_data_dir") or not Path(self.data_dir).exists():
                raise
            raise records.DamagedError(self.data_dir, f"its metadata: {error}") from error

    @property
    def metadata(self) -> dict[str, Any]:
        """What is kept beside the examples, see above; empty until the data set is prepared."""
        metadata = cast(dict[str, Any], self.info.metadata)
        metadata.keys()  # TFDS reads the file when it is asked for these
        return metadata

    def check_whole(self) -> None:
        """Raise a `DamagedError` unless the prepared data set has all that was written."""
        try:
            metadata = self.metadata
            Vocabulary.from_dict(metadata["vocabulary"])
            for split in self.info.splits:
                Report.from_dict(metadata["reports"][split])
                Statistics.from_dict(metadata["statistics"][split])
        except Exception as error:  # whatever JSON other than ours leads to
            problem = f"its metadata: {type(error).__name__}: {error}"
            raise records.DamagedError(self.data_dir, problem) from error
        if metadata.get("digest", _digest(metadata)) != _digest(metadata):
            raise records.DamagedError(self.data_dir, "its metadata changed after it was written")
        if not self.info.splits:
            raise records.DamagedError(self.data_dir, "its metadata lists no split")
        for split in self.info.splits:
            records.index_split(self, split)
        if (Path(self.data_dir) / records.DAMAGED).exists():
            raise records.DamagedError(self.data_dir, "reading it failed")

    def changes(self) -> str:
        """What the prepared data set's files would give otherwise now, as a clause; '' if nothing.

        Nothing is, too, where the files are gone: a prepared data set stands on its own.
        """
        return ""

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

    def _log_download_bytes(self) -> None:
        """Say what is about to happen; nothing is downloaded."""
        tqdm.write(f"Preparing {self.name} in {self.data_path}", file=sys.stderr)

    def _log_download_done(self) -> None:
        """Say what is there now."""
        used = readable_size(Path(self.data_dir))
        tqdm.write(f"{self.name} is prepared in {self.data_path} ({used})", file=sys.stderr)

    def _generate_splits(
        self,
        dl_manager: tfds.download.DownloadManager,
        download_config: tfds.download.DownloadConfig,
    ) -> Sequence[tfds.core.SplitInfo]:
        """Write all splits; into plain TFRecords without holding one in memory."""
        if self.info.file_format is not tfds.core.FileFormat.TFRECORD:
            infos = super()._generate_splits(dl_manager, download_config)
        else:
            most = download_config.max_examples_per_split
            infos = [
                shards.write_split(self, split, itertools.islice(examples, most))
                for split, examples in self._split_generators(dl_manager).items()
            ]
        self.metadata["digest"] = _digest(self.metadata)
        return infos

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
        digests: list[str] = []
        title = f"{self.name}, split {split}"
        tqdm.write(f"Preparing {title}: {len(usable)} images", file=sys.stderr)

        def load(entry: Entry) -> tuple[Entry, Report, images.EncodedImage | None]:
            found = Report()
            return entry, found, _load_image(entry, read_image, upright, self.max_pixels, found)

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
            digests.append(hashlib.blake2b(image.data, digest_size=8).hexdigest())
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
            ("images", digests),
        ):
            self.metadata.setdefault(key, {})[split] = value


def readable_size(folder: Path) -> str:
    """What the files in a folder take: '5.7 GB'."""
    number = float(sum(file.stat().st_size for file in folder.iterdir() if file.is_file()))
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"


def _digest(metadata: Mapping[str, Any]) -> str:
    """A checksum of all but itself."""
    content = {key: value for key, value in metadata.items() if key != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _load_image(
    entry: Entry, read_image: ReadImage, upright: bool, max_pixels: int, report: Report
) -> images.EncodedImage | None:
    """The image made fit, or None with the reason reported."""
    name = entry["file_name"]
    try:
        data = read_image(entry)
    except FileNotFoundError as error:
        report.add("image_missing", f"{name}: {error.filename or error}")
        return None
    except OutsideError as error:
        report.add("image_outside", f"{name}: {error}")
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
            max_pixels=max_pixels,
        )
    except Exception as error:  # decoders fail on broken files in more ways than they document
        report.add("image_unreadable", f"{name}: {type(error).__name__}: {error}")
        return None
