"""Images of an export -> entries in PPDM's format: names become ids, percent pixels."""

import dataclasses
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from data_pipelines.entries import Entries
from data_pipelines.label_studio import labels
from data_pipelines.label_studio.addresses import Finder, names
from data_pipelines.label_studio.export import LabeledImage, read
from data_pipelines.label_studio.findings import Findings
from data_pipelines.label_studio.regions import Region, Relation
from ggnet_jax.errors import UserError
from ggnet_jax.inference import image_files
from ggnet_jax.vocabularies import Vocabulary, from_annotations

_DRAW = (
    "connect the person's and the object's region by a relation and choose its verb; `ggnet "
    "label-config` prints a labeling configuration that offers the verbs"
)


@dataclasses.dataclass
class Export:
    """An export that was read.

    Attributes:
        path: of the file.
        images: the annotated ones.
        findings: what was left out or read otherwise; `entries` adds to it.
    """

    path: str
    images: list[LabeledImage]
    findings: Findings

    @classmethod
    def read(cls, path: str) -> "Export":
        """Read an export.

        Raises:
            UserError: see `export.read`; or it has no labeled rectangle, no relation, or
                rectangles most of which are no boxes in their image.
        """
        findings = Findings()
        images = read(path, findings)
        counts = findings.counts
        if not any(image.regions for image in images) and not counts["rotated"]:
            others = f"{counts['other_shape']} regions of other shapes, " * bool(
                counts["other_shape"]
            )
            raise UserError(
                f"{path} has no rectangle with a label in {len(images)} annotated images ({others}"
                f"{counts['no_label']} rectangles without a label); draw people and objects as "
                "rectangles, with a label each"
            )
        if not any(image.relations for image in images) and not counts["relation_nowhere"]:
            raise UserError(
                f"{path} has {sum(len(image.regions) for image in images)} rectangles but no "
                f"relation in {len(images)} annotated images; {_DRAW}"
            )
        export = cls(path, images, findings)
        _check_corners(export)
        return export

    def object_labels(self) -> list[str]:
        """The label of every box."""
        return [region.label for image in self.images for region in image.regions]

    def verb_labels(self) -> list[str]:
        """The labels of every relation."""
        return [verb for image in self.images for pair in image.relations for verb in pair.verbs]


def names_of(exports: Sequence[Export]) -> Vocabulary:
    """The names that exports need, every label that occurs in them; without classes.

    Raises:
        UserError: no relation has a label, or no label is the person's.
    """
    objects = labels.derived(label for export in exports for label in export.object_labels())
    verbs = labels.derived(verb for export in exports for verb in export.verb_labels())
    path = exports[0].path
    if not verbs:
        raise UserError(f"{path}: no relation has a label; {_DRAW}")
    try:
        return from_annotations((), objects, verbs, name=Path(path).stem)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def entries(
    export: Export,
    vocabulary: Vocabulary,
    folders: Sequence[str],
    *,
    accept_losses: bool = False,
) -> Entries:
    """The entries of an export, boxes in pixels from (0, 0), `file_name` relative to its folder.

    An image that is in none of the folders is called what it most likely is; reading it is left to
    fail, which the data report counts.

    Args:
        export: is told what was left out.
        vocabulary: has the ids of the names.
        folders: where the images lie; none leaves them unsought.
        accept_losses: leave out what can't be read rightly, which is refused otherwise.

    Raises:
        UserError: rotated rectangles, labels that the vocabulary lacks, relations of which none is
            of a person or most have no label, no image in the folders, or two that would be one.
    """
    findings, path = export.findings, export.path
    objects, verbs = labels.Names(vocabulary.objects), labels.Names(vocabulary.verbs)
    found = []
    files = _Files(folders, findings) if folders else None
    for image in export.images:
        name = names(image.address)[0] if files is None else files.name(image)
        size = image.size or (files.size(name) if files else None)
        if size is None and image.regions:
            findings.add("no_size", image.where)
            continue
        boxes, kept = [], {}
        for index, region in enumerate(image.regions):
            number = objects.index(region.label)
            if number is None:
                findings.add("unknown_object", f"{image.where}, {region.name}")
                continue
            kept[index] = len(boxes)
            category = vocabulary.object_ids[number]
            boxes.append({"bbox": _pixels(region, size or (0, 0)), "category_id": category})
        pairs = []
        for pair in image.relations:
            if not {pair.subject, pair.object} <= kept.keys():
                findings.add("relation_lost", f"{image.where}, {pair.name}")
                continue
            ends = {"subject_id": kept[pair.subject], "object_id": kept[pair.object]}
            for verb in _verb_ids(pair, image.where, verbs, vocabulary, findings):
                pairs.append({**ends, "category_id": verb})
        entry = {"file_name": name, "annotations": boxes, "hoi_annotation": pairs}
        found.append({**entry, "width": size[0], "height": size[1]} if size else entry)
    if not accept_losses:
        _refuse(export, objects, verbs)
    _check_people(export)
    _check_verbs(export)
    if files is not None:
        files.check(path)
    return Entries(found)


def _pixels(region: Region, size: tuple[int, int]) -> Any:
    """The corners in pixels; what are no numbers stay as they are, for the cleaning to count."""
    try:
        x, y, width, height = (float(value) for value in region.corners)
    except (TypeError, ValueError):
        return list(region.corners)
    scale = size[0] / 100, size[1] / 100
    return [x * scale[0], y * scale[1], (x + width) * scale[0], (y + height) * scale[1]]


def _verb_ids(
    pair: Relation, where: str, verbs: labels.Names, vocabulary: Vocabulary, findings: Findings
) -> Iterable[int]:
    if not pair.verbs:
        only = vocabulary.num_verbs == 1
        findings.add("only_verb" if only else "no_verb", f"{where}, {pair.name}")
        if only:
            yield vocabulary.verb_ids[0]
    for label in pair.verbs:
        number = verbs.index(label)
        if number is None:
            findings.add("unknown_verb", f"{where}, {pair.name}, {label!r}")
        else:
            yield vocabulary.verb_ids[number]


def _refuse(export: Export, objects: labels.Names, verbs: labels.Names) -> None:
    """Raise a UserError for what no box or id can stand for."""
    findings, path = export.findings, export.path
    findings.refuse(
        "rotated",
        path,
        "rotated rectangles, which are no boxes along the image's sides",
        'set their rotation to 0 in Label Studio (canRotate="false" in the labeling configuration '
        "prevents it)",
    )
    for kind, what, found, known in (
        ("unknown_object", "rectangles", export.object_labels(), objects),
        ("unknown_verb", "relations", export.verb_labels(), verbs),
    ):
        unknown = Counter(label for label in found if known.index(label) is None)
        named = []
        for label, number in unknown.most_common(5):
            near = known.nearest(label)
            named.append(f"{label!r} ({number} x{f', is {near!r} meant?' if near else ''})")
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        findings.refuse(
            kind,
            path,
            f"{what} with labels that the class list lacks, {', '.join(named)}{more}",
            "add them to the class list",
        )


def _check_people(export: Export) -> None:
    """Raise a UserError where no relation has a person at an end."""
    pairs = [(image, pair) for image in export.images for pair in image.relations]
    if pairs and not any(labels.is_person(i.regions[p.subject].label) for i, p in pairs):
        image, pair = pairs[0]
        raise UserError(
            f"{export.path}: none of {len(pairs)} relations has a person at one end, the first: "
            f"{image.where}, {pair.name}; people are who acts, and their label is 'person'"
        )


def _check_corners(export: Export) -> None:
    """Raise a UserError where most rectangles are no boxes in their image."""
    regions = [(image, region) for image in export.images for region in image.regions]
    odd = [(image, region) for image, region in regions if not _is_box(region.corners)]
    if 2 * len(odd) > len(regions):
        image, region = odd[0]
        listed = ", ".join(f"{value!r:.20}" for value in region.corners)
        raise UserError(
            f"{export.path}: {len(odd)} of {len(regions)} rectangles have no area in their image, "
            f"the first: {image.where}, {region.name} with x, y, width, height {listed}; these are "
            "percent of the image's sides"
        )
    fractions = [region for _, region in regions if _is_fraction(region.corners)]
    if 2 * len(fractions) > len(regions):
        raise UserError(
            f"{export.path}: x, y, width and height of {len(fractions)} of {len(regions)} "
            "rectangles are all within 0..1, as if they were fractions of the image's sides; "
            "Label Studio's are percent: multiply them by 100"
        )


def _is_fraction(corners: Sequence[Any]) -> bool:
    """Whether a rectangle's numbers are all within 0..1; in percent it would be a speck."""
    return _is_box(corners) and all(abs(float(value)) <= 1.05 for value in corners)


def _is_box(corners: Sequence[Any]) -> bool:
    """Whether x, y, width and height in percent are a box with an area in the image."""
    try:
        x, y, width, height = (float(value) for value in corners)
    except (TypeError, ValueError):
        return False
    # (Comparisons with NaN are false.)
    has_area = 0 < width < math.inf and 0 < height < math.inf
    return has_area and -width < x < 100 and -height < y < 100


def _check_verbs(export: Export) -> None:
    """Raise a UserError where most relations say nothing."""
    total = sum(len(image.relations) for image in export.images)
    if 2 * (number := export.findings.counts["no_verb"]) > total:
        raise UserError(
            f"{export.path}: {number} of {total} relations have no label, the first: "
            f"{export.findings.first['no_verb']}; a relation's label is the verb: {_DRAW}"
        )


class _Files:
    """The images of an export in the user's folders."""

    def __init__(self, folders: Sequence[str], findings: Findings):
        self._finder, self._findings = Finder(folders), findings
        self._found: dict[str, LabeledImage] = {}
        self._missing: list[LabeledImage] = []

    def name(self, image: LabeledImage) -> str:
        """The file's name relative to its folder."""
        name = self._finder.find(image.address)
        if name is None:
            tried = ", ".join(names(image.address))
            self._findings.add("not_found", f"{image.where}; tried {tried}")
            self._missing.append(image)
            return names(image.address)[-1]
        other = self._found.setdefault(name, image)
        if other is not image:
            raise UserError(
                f"{other.where} and {image.where} both lead to {name} in "
                f"{', '.join(self._finder.folders)}; give the files the names that Label Studio "
                "has, or delete one of the tasks if they are the same image"
            )
        return name

    def size(self, name: str) -> tuple[int, int] | None:
        """(width, height) of an image as it is shown; None if it can't be read."""
        for folder in self._finder.folders:
            try:
                with image_files.decoding(name), Image.open(os.path.join(folder, name)) as image:
                    width, height = image.size
                    turned = image_files.exif_orientation(image) >= 5
            except (OSError, UserError):
                continue
            return (height, width) if turned else (width, height)
        return None

    def check(self, path: str) -> None:
        """Raise a UserError if not a single image was found."""
        if self._missing and not self._found:
            first = self._missing[0]
            raise UserError(
                f"none of the {len(self._missing)} images of {path} is in "
                f"{', '.join(self._finder.folders)}; for {first.where} these were tried: "
                f"{', '.join(names(first.address))}"
            )
