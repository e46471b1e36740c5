"""The results of one annotation -> boxes in percent and relations between them, by name.

A result is a shape, a label or another property of a region, or a relation. `RectangleLabels` give
one result a region, {"id", "type": "rectanglelabels", "value": {"x", "y", "width", "height",
"rotation", "rectanglelabels": [...]}}; `Rectangle` with `Labels` give two with the same id.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_pipelines.label_studio.findings import Findings
from data_pipelines.label_studio.labels import is_person

_CORNERS = ("x", "y", "width", "height")
# What results have that belong to a region, or to the whole image, but are not its shape.
_PROPERTIES = ("choices", "textarea", "taxonomy", "rating", "number", "datetime", "labels", "text")
_LEAST_ROTATION = 0.01  # degrees; less is rounding


@dataclasses.dataclass(frozen=True)
class Region:
    """A rectangle with a label.

    Attributes:
        name: of the region, for messages.
        label: as the export has it.
        corners: x, y, width and height in percent of the image; whatever else the export has there.
    """

    name: str
    label: str
    corners: tuple[Any, Any, Any, Any]


@dataclasses.dataclass(frozen=True)
class Relation:
    """A human-object pair, or what is meant to be one.

    Attributes:
        name: for messages.
        subject, object: indices of regions.
        verbs: labels as the export has them; none where no label was given.
    """

    name: str
    subject: int
    object: int
    verbs: tuple[str, ...]


def read_results(
    results: Sequence[Mapping[str, Any]],
    where: str,
    findings: Findings,
) -> tuple[list[Region], list[Relation]]:
    """The labeled rectangles of an annotation, and the relations between them.

    Args:
        results: of one annotation and image.
        where: the image, for messages.
        findings: takes what is left out.
    """
    regions: list[Region] = []
    places: dict[Any, list[int]] = {}  # a region's id -> its boxes, one for each label
    labels_of: dict[Any, dict[str, None]] = {}
    rectangles: dict[Any, Mapping[str, Any]] = {}
    for number, result in enumerate(results):
        kind, identity = result.get("type"), result.get("id", number)
        for key in ("rectanglelabels", "labels"):
            if kind != "relation":
                labels_of.setdefault(identity, {}).update(dict.fromkeys(_names(result, key)))
        if kind in ("rectanglelabels", "rectangle"):
            value = result.get("value")
            rectangles.setdefault(identity, value if isinstance(value, Mapping) else {})
        elif kind != "relation" and kind not in _PROPERTIES:
            findings.add("other_shape", f"{where}, {kind} {result.get('id')}")
    for identity, value in rectangles.items():
        labels = labels_of[identity]
        name = f"region {identity} ({', '.join(labels) or 'no label'})"
        if not labels:
            findings.add("no_label", f"{where}, {name}")
            continue
        if is_rotated(value.get("rotation")):
            findings.add("rotated", f"{where}, {name}, by {value['rotation']!r} degrees")
            continue
        if len(labels) > 1:
            findings.add("many_labels", f"{where}, {name}")
        x, y, width, height = (value.get(key) for key in _CORNERS)
        for label in labels:
            places.setdefault(identity, []).append(len(regions))
            regions.append(Region(name, label, (x, y, width, height)))
    return regions, list(_relations(results, regions, places, where, findings))


def _relations(
    results: Sequence[Mapping[str, Any]],
    regions: Sequence[Region],
    places: Mapping[Any, Sequence[int]],
    where: str,
    findings: Findings,
) -> Iterable[Relation]:
    for result in results:
        if result.get("type") != "relation":
            continue
        ends = [places.get(result.get(key), ()) for key in ("from_id", "to_id")]
        name = f"relation {result.get('from_id')} to {result.get('to_id')}"
        if not ends[0] or not ends[1] or ends[0] == ends[1]:
            findings.add("relation_nowhere", f"{where}, {name}")
            continue
        people = [[i for i in end if is_person(regions[i].label)] for end in ends]
        direction = result.get("direction") or "right"
        ways = {"left": [(1, 0)], "bi": [(0, 1), (1, 0)]}.get(direction, [(0, 1)])
        if direction == "bi" and bool(people[0]) != bool(people[1]):
            ways = [(0, 1)] if people[0] else [(1, 0)]
        elif people[ways[0][1]] and not people[ways[0][0]]:
            findings.add("turned_around", f"{where}, {name}")
            ways = [ways[0][::-1]]
        verbs = tuple(dict.fromkeys(_names({"value": result}, "labels")))
        for subject, other in ways:
            for human in people[subject] or ends[subject][:1]:
                for obj in ends[other]:
                    between = f"{regions[human].label} to {regions[obj].label}"
                    yield Relation(f"{name} ({between})", human, obj, verbs)


def _names(result: Mapping[str, Any], key: str) -> list[str]:
    """The labels in a result's value."""
    value = result.get("value")
    labels = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(labels, str):
        labels = [labels]
    if not isinstance(labels, list):
        return []
    return [label.strip() for label in labels if isinstance(label, str) and label.strip()]


def is_rotated(rotation: Any) -> bool:
    """Whether a rectangle is turned, or it can't be told."""
    if rotation is None:
        return False
    if not isinstance(rotation, int | float) or not math.isfinite(rotation):
        return True
    turn = rotation % 360
    return min(turn, 360 - turn) > _LEAST_ROTATION
