"""Builders over files that people have on disk: annotation files and image folders.

Everything that is missing is named, with where it is expected and where people get it, before any
work starts. Which file counts its pixels from 1 is known for each source, never guessed.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from data_pipelines import annotations, plausibility
from data_pipelines.hoi_builder import Entry, HoiBuilder
from ggnet_jax import io, vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.inference.image_files import read_file
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
    """

    sources: Mapping[str, tuple[Source, ...]] | None = None
    vocabulary: str = ""


class FilesBuilder(HoiBuilder, skip_registration=True):
    """Base of the builders that read PPDM's JSON (or a subclass's own format) and images."""

    WHERE_FROM: ClassVar[str] = ""  # people get the files
    UPRIGHT: ClassVar[bool] = False  # what an EXIF rotation means where no size tells

    @classmethod
    def from_config(cls, data: Any) -> "FilesBuilder":
        """The builder for `config.data`: its files if it names any, else the manual folder's."""
        config = None
        if data.train_annotations or data.eval_annotations:
            config = cls._config_of_paths(data)
        builder = cls(config=config, data_dir=data.data_dir or None)
        builder.accept_losses = data.get("accept_losses", False)
        return builder

    @property
    def files(self) -> FilesConfig:
        """The builder's config, which TFDS types as anything or None."""
        return self.builder_config or FilesConfig(name="")

    @classmethod
    def _config_of_paths(cls, data: Any) -> FilesConfig:
        sources = {}
        for split, key in (("train", "train"), ("test", "eval")):
            files, folders = data[f"{key}_annotations"], data[f"{key}_images"]
            if not files:
                continue
            if not folders:
                raise UserError(
                    f"data.{key}_annotations is set but data.{key}_images is not; "
                    "set it to the folder of its images"
                )
            origin = data.get(f"{key}_origin", -1)
            sources[split] = tuple(
                Source(
                    annotations=path,
                    images=_paths(folders),
                    split=split,
                    one_based=cls.one_based(path, origin, f"data.{key}_origin"),
                    instances=_paths(data.get(f"{key}_instances", "")),
                )
                for path in _paths(files)
            )
        listed = Path(data.vocabulary)
        words = io.read_text(listed) if listed.is_file() else ""
        content = repr((sorted(sources.items()), data.vocabulary, words))
        digest = hashlib.sha256(content.encode()).hexdigest()[:10]
        return FilesConfig(
            name=f"files-{digest}",
            description="; ".join(s.annotations for split in sources.values() for s in split),
            sources=sources,
            vocabulary=data.vocabulary,
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
            f"{self.name} has no standard files; set data.train_annotations and data.train_images"
        )

    def read_source(self, source: Source) -> list[Any]:
        """The entries of a source in PPDM's format, boxes as they are in the file."""
        return annotations.read_entries(source.annotations)

    def image_names(self, name: str) -> tuple[str, ...]:
        """What an image's file may be called, best first."""
        return (name,)

    def load_vocabulary(self) -> Vocabulary:
        """The vocabulary named in the config, or that of the data set's name."""
        return vocabularies.load(self.files.vocabulary or self.name)

    def vocabulary_to_check(self) -> Vocabulary:
        """The vocabulary; without classes where these are computed from the annotations."""
        return self.load_vocabulary()

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        sources = self.files.sources
        if sources is None:
            sources = self.standard_sources(_manual_folder(dl_manager))
        self.check_files(sources)
        entries = {
            split: [(source, self.read_source(source)) for source in parts]
            for split, parts in sources.items()
        }
        self._check_images(entries)
        entries = {
            split: [(source, self._recognize(source, found)) for source, found in parts]
            for split, parts in entries.items()
        }
        self.metadata["sources"] = {
            split: [{**dataclasses.asdict(s), "sha256": _digest(s.annotations)} for s in parts]
            for split, parts in sources.items()
        }
        return {split: self._generate_split(split, parts) for split, parts in entries.items()}

    def _generate_split(self, split: str, parts: list[tuple[Source, list[Any]]]) -> Any:
        origins = {source.one_based for source, _ in parts}
        if len(origins) > 1:
            raise UserError(
                f"split {split!r} mixes annotation files that count pixels from 0 with files that "
                "count from 1; give files of one kind"
            )
        folders: dict[str | None, tuple[str, ...]] = {}
        for source, found in parts:
            for entry in found:
                folders.setdefault(annotations.image_name(entry), source.images)

        def read(entry: Entry) -> bytes:
            name = entry["file_name"]
            return read_file(self._find(name, folders[name]))

        every = [entry for _, found in parts for entry in found]
        return self._generate_examples(
            split, every, read, one_based=origins.pop(), upright=self.UPRIGHT
        )

    def _recognize(self, source: Source, entries: list[Any]) -> list[Any]:
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
        return plausibility.renumbered(entries, numbering)

    def _find(self, name: str, folders: tuple[str, ...]) -> Path:
        """The image's path: the first that exists, or the first that was looked for.

        (`Path.is_file` would raise for a name that no file can have.)
        """
        candidates = [Path(f) / n for f in folders for n in self.image_names(name)]
        return next((path for path in candidates if os.path.isfile(path)), candidates[0])

    def check_current(self) -> None:
        """Raise a UserError if an annotation file changed since the data set was built from it."""
        for parts in self.metadata["sources"].values():
            for source in parts:
                path = source["annotations"]
                if Path(path).is_file() and _digest(path) != source["sha256"]:
                    raise UserError(
                        f"{path} changed since the data set in {self.data_path} was built from "
                        "it; delete that folder to build it again"
                    )

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
                "set data.train_annotations, data.train_images, data.eval_annotations and "
                "data.eval_images"
            )

    def _check_images(self, entries: Mapping[str, list[tuple[Source, list[Any]]]]) -> None:
        """Raise a UserError where a folder has none of the images that its file names."""
        for split, parts in entries.items():
            for source, found in parts:
                names = [name for name in map(annotations.image_name, found) if name]
                if not any(os.path.isfile(self._find(name, source.images)) for name in names):
                    raise UserError(
                        f"{self.name}: none of the {len(names)} images of "
                        f"{source.annotations} (split {split!r}, the first is "
                        f"{names[0] if names else '-'}) is in {', '.join(source.images)}. "
                        f"{self._where_from()}".rstrip()
                    )

    def _where_from(self) -> str:
        return f"Get them from {self.WHERE_FROM}. " if self.WHERE_FROM else ""


def _manual_folder(dl_manager: tfds.download.DownloadManager) -> Path:
    """TFDS's folder for what people put there by hand, whether or not it is there yet."""
    try:
        return Path(dl_manager.manual_dir)
    except AssertionError:  # TFDS's way to say that it is empty; we name the files instead
        return Path(getattr(dl_manager, "_manual_dir", Path(dl_manager.download_dir) / "manual"))


def _paths(text: str) -> tuple[str, ...]:
    """'a, b' -> absolute paths of a and b."""
    return tuple(
        str(Path(part.strip()).expanduser().resolve()) for part in text.split(",") if part.strip()
    )


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
