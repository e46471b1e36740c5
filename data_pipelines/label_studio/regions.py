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
from ggnet_jax.errors import UserError

_CORNERS = ("x", "y", "width", "height")
# What results have that belong to a region, or to the whole image, but are not its shape.
_PROPERTIES = ("choices", "textarea", "taxonomy", "rating", "number", "datetime", "labels", "text")
_RECTANGLES = ("rectanglelabels", "rectangle")
_LABELS = ("rectanglelabels", "labels")
_DIRECTIONS = ("right", "left", "bi")
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


def check_ids(results: Sequence[Mapping[str, Any]], where: str) -> None:
    """Raise a UserError for different rectangles with the same id: nobody knows whose labels are.

    Args:
        results: of one annotation and image, each of which `check_result` has passed.
        where: file and task, for messages.
    """
    seen: dict[Any, list[Any]] = {}
    for result in results:
        if result["type"] in _RECTANGLES and result.get("id") is not None:
            corners = [result["value"].get(key) for key in _CORNERS]
            if repr(seen.setdefault(result["id"], corners)) != repr(corners):  # NaN is itself
                raise UserError(
                    f"{where}: two rectangles have the id {result['id']!r}; give each its own"
                )


def check_result(result: Any, where: str) -> None:
    """Raise a UserError for a result that has what Label Studio never writes.

    (Numbers that are none make a malformed box, which the cleaning counts.)

    Args:
        result: of an annotation.
        where: file, task and number of the result, for messages.
    """
    if not isinstance(result, Mapping):
        raise UserError(f"{where} is not a JSON object but {result!r:.60}")
    kind = result.get("type")
    if not isinstance(kind, str) or not kind:
        raise UserError(f"{where}: its 'type' is {kind!r:.60}, not 'rectanglelabels' or the like")
    relation = kind == "relation"
    for key in ("from_id", "to_id") if relation else ("id",):
        identity = result.get(key)
        if isinstance(identity, bool) or not isinstance(identity, str | int | None):
            raise UserError(f"{where} ({kind}): its {key!r} is {identity!r:.60}, not a text")
    if not relation:
        where += f" ({kind}, region {result.get('id')})"
        if not isinstance(result.get("value"), Mapping):
            raise UserError(
                f"{where}: its 'value' is not a JSON object but {result.get('value')!r:.60}"
            )
    else:
        where += f" (relation {result.get('from_id')} to {result.get('to_id')})"
        direction = result.get("direction")
        if direction is not None and direction not in _DIRECTIONS:
            raise UserError(
                f"{where}: its direction is {direction!r:.60}; it can be {', '.join(_DIRECTIONS)}"
            )
    for key, labels in (result if relation else result["value"]).items():
        if key in _LABELS and not _is_names(labels):
            raise UserError(f"{where}: its {key!r} are not a list of texts but {labels!r:.60}")


def _is_names(labels: Any) -> bool:
    return isinstance(labels, str | None) or (
        isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    )


def read_results(
    results: Sequence[Mapping[str, Any]],
    where: str,
    findings: Findings,
) -> tuple[list[Region], list[Relation]]:
    """The labeled rectangles of an annotation, and the relations between them.

    Args:
        results: of one annotation and image, which `check_result` and `check_ids` have passed.
        where: the image, for messages.
        findings: takes what is left out.
    """
    regions: list[Region] = []
    places: dict[Any, list[int]] = {}  # a region's id -> its boxes, one for each label
    labels_of: dict[Any, dict[str, None]] = {}
    rectangles: dict[Any, Mapping[str, Any]] = {}
    for number, result in enumerate(results):
        kind, identity = result["type"], result.get("id")
        if identity is None:  # a region of its own, to which no relation can lead
            identity = f"without an id, result {number}"
        for key in _LABELS:
            if kind != "relation":
                labels_of.setdefault(identity, {}).update(dict.fromkeys(_names(result, key)))
        if kind in _RECTANGLES:
            rectangles.setdefault(identity, result["value"])
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
