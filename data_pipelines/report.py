"""The data report: what a build found wrong with a split, and what it did about it.

Nothing is dropped silently: every problem that the cleaning of annotations and images can find has
a kind here, which says what is done about it, and is counted.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

# Kind -> what it is, and what is done about it. The keys are stored with prepared data sets.
KINDS: Mapping[str, tuple[str, str]] = {
    "entry_malformed": (
        "malformed entry",
        "left out; not a JSON object with file_name and the lists annotations and hoi_annotation",
    ),
    "image_twice": (
        "further entry of an image",
        "merged with its first one; equal boxes and equal relations are kept once",
    ),
    "list_missing": (
        "entry without one of the lists annotations and hoi_annotation",
        "read as an empty list",
    ),
    "string_id": ("id in quotes, or white space around a name", "read without them"),
    "box_malformed": ("malformed box", "left out; bbox is not four finite numbers"),
    "unknown_category": (
        "box of an unknown object category",
        "left out; the vocabulary has no such category_id",
    ),
    "box_without_area": ("box without area", "left out; x2 <= x1 or y2 <= y1"),
    "crowd_region": ("crowd region", "left out; COCO outlines a group there, not one object"),
    "box_outside": ("box outside of the image", "left out"),
    "box_clipped": ("box across the image's border", "clipped to the image"),
    "relation_malformed": ("malformed relation", "left out; its ids are not whole numbers"),
    "relation_without_object": (
        "relation without an object",
        "left out of training; object_id is -1 or missing",
    ),
    "relation_nowhere": (
        "relation with a box that is not there",
        "left out; subject_id and object_id count the entry's boxes from 0",
    ),
    "relation_lost_box": ("relation of a box that was left out", "left out with it"),
    "unknown_verb": (
        "relation with an unknown verb",
        "left out; the vocabulary has no such category_id",
    ),
    "subject_no_person": ("relation whose subject is not a person", "left out; only people act"),
    "relation_twice": ("duplicate relation", "kept once"),
    "pair_no_class": (
        "verb-object pair that is not a class",
        "kept for training; detection never gives a pair outside of the vocabulary's classes",
    ),
    "image_missing": (
        "missing image",
        "left out of training; evaluation counts its pairs as missed",
    ),
    "image_outside": (
        "image outside of the image folder",
        "left out as if it were missing; config.data.allow_outside_images=True takes it",
    ),
    "image_unreadable": (
        "unreadable image",
        "left out of training; evaluation counts its pairs as missed",
    ),
    "image_truncated": ("truncated image", "kept; decoded as far as it goes, the rest is gray"),
    "image_rotated": (
        "image with an EXIF rotation",
        "rotated as it says; the boxes are of the image as shown",
    ),
    "image_not_turned": (
        "image with an EXIF rotation",
        "kept as stored; the boxes are of the image as stored",
    ),
    "image_cmyk": ("CMYK image", "converted to RGB"),
    "image_gray": ("gray image", "its channel repeated as R, G and B"),
    "image_converted": (
        "image with a palette, alpha or 16 bits, or neither JPEG nor PNG",
        "converted to RGB",
    ),
    "image_resized": ("image larger or smaller than annotated", "resized to the annotation's size"),
    "size_mismatch": (
        "image of another shape than annotated",
        "kept in its own size; boxes are clipped to it",
    ),
}
_EXAMPLES = 5  # places that a report names for each kind


class Report:
    """How often each kind was found in one split, and the first places.

    Attributes:
        counts: how often each kind was found.
        examples: the first places of each.
        entries: number of entries.
        notes: lines on how files were read.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.entries = 0

    def add(self, kind: str, where: str) -> None:
        """Count one finding of `kind` (a key of KINDS) at `where`."""
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}; it needs a line in KINDS")
        self.counts[kind] += 1
        places = self.examples.setdefault(kind, [])
        if len(places) < _EXAMPLES:
            places.append(where)

    def merge(self, other: "Report") -> None:
        """Add the findings of another report."""
        self.entries += other.entries
        self.notes += other.notes
        for kind, number in other.counts.items():
            places = self.examples.setdefault(kind, [])
            places.extend(other.examples[kind][: _EXAMPLES - len(places)])
            self.counts[kind] += number

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `Report.from_dict` is the inverse."""
        return {
            "entries": self.entries,
            "notes": list(self.notes),
            "findings": {
                kind: {
                    "count": self.counts[kind],
                    "treatment": treatment,
                    "examples": list(self.examples[kind]),
                }
                for kind, (_, treatment) in KINDS.items()
                if self.counts[kind]
            },
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Report":
        """The inverse of `to_dict`; also of what version 0.1 stored."""
        report = cls()
        report.entries = int(fields["entries"])
        report.notes = list(fields.get("notes", []))  # version 0.1 stored none
        for key, finding in fields["findings"].items():
            kind = key.replace("picture", "image").replace("grey", "gray")  # version 0.1's words
            report.counts[kind] = int(finding["count"])
            report.examples[kind] = list(finding["examples"])
        return report

    def line(self, title: str) -> str:
        """The counts and the notes in one line."""
        counts = [f"{what}: {self.counts[kind]}" for kind, (what, _) in KINDS.items()]
        found = [text for text, kind in zip(counts, KINDS, strict=True) if self.counts[kind]]
        if not found and not self.notes:
            found = ["nothing to report"]
        return "; ".join([f"{title}: {', '.join([self._number(), *found])}", *self.notes])

    def table(self, title: str) -> str:
        """The findings as lines to read."""
        notes = (f"  {note}" for note in self.notes)
        lines = [f"Data report of {title}: {self._number()}", *notes]
        if not self.counts and not self.notes:
            lines[0] += ", nothing to report"
        for kind, (what, treatment) in KINDS.items():
            if self.counts[kind]:
                lines.append(f"  {self.counts[kind]:>7}  {what}: {treatment}")
                lines.append(f"           e.g. {self.examples[kind][0]}")
        return "\n".join(lines)

    def _number(self) -> str:
        return f"{self.entries} {'entry' if self.entries == 1 else 'entries'}"
