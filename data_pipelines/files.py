"""Builders over files that people have on disk: annotation files and image folders.

Everything that is missing is named, with where it is expected and where people get it, before any
work starts. Which file counts its pixels from 1 is known for each source, never guessed.

What a build read is kept in the builder's metadata, beside what hoi_builder.py keeps there:

    sources     {split: [Source, as a dict, with the file's sha256]}
    originals   files: {path: sha256, None of what was looked for and not there}
                images: {split: [ImageFolders.record() of each source]}
    accept_losses  whether what was lost was accepted
    max_pixels     of the largest image that was read
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from data_pipelines import annotations, plausibility
from data_pipelines.entries import Entries
from data_pipelines.hoi_builder import Entry, HoiBuilder
from data_pipelines.image_folders import ImageFolders
from ggnet_jax import io, vocabularies
from ggnet_jax.config import split_paths
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary


@dataclasses.dataclass(frozen=True)
class Source:
    """One annotation file and where its images are.

    Attributes:
        annotations: path of the file.
        images: folders that are searched for each image, in this order.
        split: what it is read for.
        one_based: the first pixel of the file's boxes is (1, 1).
        instances: COCO's instances files, for annotations that have no boxes of their own.
    """

    annotations: str
    images: tuple[str, ...]
    split: str
    one_based: bool = False
    instances: tuple[str, ...] = ()


@dataclasses.dataclass(eq=False)
class FilesConfig(tfds.core.BuilderConfig):
    """Where a data set's files are.

    Attributes:
        sources: {split: its sources}; None looks for the standard names in TFDS's manual folder,
            of the layout that the config is called after.
        vocabulary: name or JSON file of the classes; '' is the data set's own.
        allow_outside_images: see `ImageFolders`.
    """

    sources: Mapping[str, tuple[Source, ...]] | None = None
    vocabulary: str = ""
    allow_outside_images: bool = False


class FilesBuilder(HoiBuilder, skip_registration=True):
    """Base of the builders that read PPDM's JSON (or a subclass's own format) and images."""

    WHERE_FROM: ClassVar[str] = ""  # people get the files
    UPRIGHT: ClassVar[bool] = False  # what an EXIF rotation means where no size tells

    @classmethod
    def from_config(cls, data: Any) -> "FilesBuilder":
        """The builder for `config.data`: its files if it names any, else the manual folder's."""
        config = None
        if data.get("val_annotations", "") and not data.train_annotations:
            raise UserError(
                "config.data.val_annotations needs config.data.train_annotations beside it"
            )
        if data.train_annotations or data.eval_annotations:
            config = cls._config_of_paths(data)
        builder = cls(config=config, data_dir=data.data_dir or None)
        builder.accept_losses = data.get("accept_losses", False)
        builder.max_pixels = data.get("max_pixels", builder.max_pixels)
        return builder

    @classmethod
    def of_annotations(cls, data: Any) -> "FilesBuilder":
        """A builder for `read_annotations` alone, from the annotation files of `config.data`."""
        builder = cls(
            config=cls._config_of_paths(data, images=False), data_dir=data.data_dir or None
        )
        builder.accept_losses = data.accept_losses
        return builder

    @property
    def files(self) -> FilesConfig:
        """The builder's config, which TFDS types as anything or None."""
        return self.builder_config or FilesConfig(name="")

    @classmethod
    def _config_of_paths(cls, data: Any, *, images: bool = True) -> FilesConfig:
        """The config of the files that `config.data` names; `images`: their folders are needed."""
        sources = {}
        for split, key in (("train", "train"), ("val", "val"), ("test", "eval")):
            files, folders = data.get(f"{key}_annotations", ""), data.get(f"{key}_images", "")
            if not files:
                continue
            if images and not folders:
                raise UserError(
                    f"config.data.{key}_annotations is set but config.data.{key}_images is not; "
                    "set it to the folder of its images"
                )
            origin = data.get(f"{key}_origin", -1)
            sources[split] = tuple(
                Source(
                    annotations=path,
                    images=_paths(folders),
                    split=split,
                    one_based=cls.one_based(path, origin, f"config.data.{key}_origin"),
                    instances=_paths(data.get(f"{key}_instances", "")),
                )
                for path in _paths(files)
            )
        vocabulary, words = data.vocabulary, ""
        if vocabulary not in vocabularies.names() and Path(vocabulary).is_file():
            (vocabulary,) = _paths(vocabulary)
            words = io.read_text(vocabulary)
        outside = bool(data.get("allow_outside_images", False))
        content = (sorted(sources.items()), vocabulary, words, *(["outside"] * outside))
        digest = hashlib.sha256(repr(content).encode()).hexdigest()[:10]
        return FilesConfig(
            name=f"files-{digest}",
            description="; ".join(s.annotations for split in sources.values() for s in split),
            sources=sources,
            vocabulary=vocabulary,
            allow_outside_images=outside,
        )

    @classmethod
    def one_based(cls, path: str, origin: int, field: str) -> bool:
        """Whether a file's first pixel is (1, 1); `origin` is 0, 1, or -1 where nothing is said."""
        if origin not in (-1, 0, 1):
            raise UserError(
                f"{field}={origin}; give 0 if the file counts pixels from 0, 1 if it counts them "
                "from 1, or -1 for what is known of the data set"
            )
        return origin == 1

    def standard_sources(self, folder: Path) -> Mapping[str, tuple[Source, ...]]:
        """{split: sources} of the standard names in TFDS's manual folder."""
        raise UserError(
            f"{self.name} has no standard files; set config.data.train_annotations and "
            "config.data.train_images"
        )

    def read_source(self, source: Source) -> Sequence[Any]:
        """The entries of a source in PPDM's format, boxes as they are in the file."""
        return annotations.read_entries(source.annotations)

    def files_of(self, source: Source) -> tuple[str, ...]:
        """All files that `read_source` reads, or would read if they were there."""
        return (source.annotations, *source.instances)

    def image_names(self, name: str) -> tuple[str, ...]:
        """What an image's file may be called, best first."""
        return (name,)

    def load_vocabulary(self) -> Vocabulary:
        """The vocabulary named in the config, or that of the data set's name."""
        return vocabularies.load(self.files.vocabulary or self.name)

    def vocabulary_to_check(self) -> Vocabulary:
        """The vocabulary; without classes where these are computed from the annotations."""
        return self.load_vocabulary()

    def read_annotations(self) -> dict[str, tuple[Entries, bool]]:
        """{split: its entries in the vocabulary's ids, whether they count pixels from 1}.

        Raises:
            UserError: a file is missing or is not what it is read as.
        """
        sources = self.files.sources or {}
        self.check_files(sources)
        found = {}
        for split, parts in sources.items():
            every = Entries()
            for source in parts:
                every.extend(self._recognize(source, _packed(self.read_source(source))))
            found[split] = every, _origin(split, parts)
        return found

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        sources = self.files.sources
        if sources is None:
            sources = self.standard_sources(_manual_folder(dl_manager))
        self.check_files(sources)
        read = [p for parts in sources.values() for s in parts for p in self.files_of(s)]
        files = {path: _digest(path) for path in dict.fromkeys(read)}  # before they are read
        entries = {
            split: [(source, _packed(self.read_source(source))) for source in parts]
            for split, parts in sources.items()
        }
        self._check_images(entries)
        entries = {
            split: [(source, self._recognize(source, found)) for source, found in parts]
            for split, parts in entries.items()
        }
        self.metadata["sources"] = {
            split: [{**dataclasses.asdict(s), "sha256": files[s.annotations]} for s in parts]
            for split, parts in sources.items()
        }
        self.metadata["originals"] = {"files": files, "images": {}}
        self.metadata["accept_losses"] = bool(self.accept_losses)
        self.metadata["max_pixels"] = self.max_pixels
        return {split: self._generate_split(split, parts) for split, parts in entries.items()}

    def _generate_split(self, split: str, parts: list[tuple[Source, Entries]]) -> Iterator[Any]:
        one_based = _origin(split, [source for source, _ in parts])
        folders = [self._folders(source) for source, _ in parts]
        every, owner = parts[0][1], {}
        if len(parts) > 1:
            every = Entries()
            for (_, found), images in zip(parts, folders, strict=True):
                every.extend(found)
                for name in map(annotations.image_name, found):
                    owner.setdefault(name, images)

        def read(entry: Entry) -> bytes:
            return owner.get(entry["file_name"], folders[0]).read(entry["file_name"])

        yield from self._generate_examples(
            split, every, read, one_based=one_based, upright=self.UPRIGHT
        )
        records = [images.record() for images in folders]
        self.metadata["originals"]["images"][split] = records

    def _folders(self, source: Source) -> ImageFolders:
        outside = self.files.allow_outside_images
        return ImageFolders(source.images, self.image_names, allow_outside=outside)

    def _recognize(self, source: Source, entries: Entries) -> Entries:
        """The entries in the vocabulary's ids, if they can be what they are taken for."""
        numbering = plausibility.check(
            entries,
            self.vocabulary_to_check(),
            source.annotations,
            accept_losses=self.accept_losses,
        )
        if numbering.note:
            self.notes.setdefault(source.split, []).append(
                f"{source.annotations}: {numbering.note}"
            )
        if numbering.verbs is None:
            return entries
        return Entries(plausibility.renumbered(entries, numbering))

    def changes(self) -> str:
        """See the base class; annotation files are compared by content, images by size and time."""
        sources = self.metadata["sources"]
        given = [source["annotations"] for parts in sources.values() for source in parts]
        if not any(map(os.path.isfile, given)):
            return ""
        originals = self.metadata.get("originals")
        if originals is None:
            return "was built by an earlier version, which did not keep what its images were"
        if self.metadata["accept_losses"] and not self.accept_losses:
            return "was built with config.data.accept_losses=True"
        limit = self.metadata.get("max_pixels", self.max_pixels)
        if limit != self.max_pixels:
            return f"was built with config.data.max_pixels={limit}"
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(_digest, originals["files"]))
        for (path, before), now in zip(originals["files"].items(), digests, strict=True):
            if now is not None and now != before:
                return f"is older than {path}, which {'changed' if before else 'is new'}"
        found: list[str] = []
        for split, parts in sources.items():
            for source, record in zip(parts, originals["images"][split], strict=True):
                images = ImageFolders(
                    source["images"],
                    self.image_names,
                    allow_outside=self.files.allow_outside_images,
                )
                found += images.changes(record)
        found = list(dict.fromkeys(found))  # splits may share images
        if not found:
            return ""
        more = f" (and {len(found) - 1} more)" if found[1:] else ""
        return f"is not of the images as they are now: {found[0]}{more}"

    def check_files(self, sources: Mapping[str, tuple[Source, ...]]) -> None:
        """Raise a UserError that names every annotation file and folder that is not there."""
        missing = []
        for split, parts in sources.items():
            for source in parts:
                missing += [
                    f"annotation file of split {split!r}: {path}"
                    for path in (source.annotations, *source.instances)
                    if not Path(path).is_file()
                ]
                missing += [
                    f"image folder of split {split!r}: {folder}"
                    for folder in source.images
                    if not Path(folder).is_dir()
                ]
        if missing:
            listed = "; ".join(dict.fromkeys(missing))
            raise UserError(
                f"{self.name}: not found: {listed}. {self._where_from()}If they lie elsewhere, "
                "set config.data.train_annotations, config.data.train_images, "
                "config.data.eval_annotations and config.data.eval_images"
            )

    def _check_images(self, entries: Mapping[str, list[tuple[Source, Entries]]]) -> None:
        """Raise a UserError where a folder has none of the images that its file names."""
        for split, parts in entries.items():
            for source, found in parts:
                names = (name for name in map(annotations.image_name, found) if name)
                where = f"{source.annotations} (split {split!r})"
                self._folders(source).check_any(names, where, self._where_from())

    def _where_from(self) -> str:
        return f"Get them from {self.WHERE_FROM}. " if self.WHERE_FROM else ""


def _manual_folder(dl_manager: tfds.download.DownloadManager) -> Path:
    """TFDS's folder for what people put there by hand, whether or not it is there yet."""
    try:
        return Path(dl_manager.manual_dir)
    except AssertionError:  # TFDS's way to say that it is empty; we name the files instead
        return Path(getattr(dl_manager, "_manual_dir", Path(dl_manager.download_dir) / "manual"))


def _origin(split: str, parts: Sequence[Source]) -> bool:
    """Whether the annotation files of a split count pixels from 1."""
    origins = {source.one_based for source in parts}
    if len(origins) > 1:
        raise UserError(
            f"split {split!r} mixes annotation files that count pixels from 0 with files that "
            "count from 1; give files of one kind"
        )
    return origins.pop()


def _packed(entries: Sequence[Any]) -> Entries:
    return entries if isinstance(entries, Entries) else Entries(entries)


def _paths(text: str) -> tuple[str, ...]:
    """'a, b' -> absolute paths of a and b, links resolved."""
    return tuple(str(Path(part).expanduser().resolve()) for part in split_paths(text))


def _digest(path: str) -> str | None:
    """SHA-256 of a file's content, None if there is no such file."""
    if not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
