"""V-COCO predictions for the data set's own code: a list with a dictionary for each prediction.

QPIC, CDN, UPT, PViC, iCAN and most others write them, under names such as `vcoco.pickle` and
`cache.pkl`. A dictionary has

    image_id          COCO's
    person_box        4 numbers
    VERB_agent        score of the action, for 26 of them
    VERB_ROLE         the object's box and the score, 5 numbers, for 25 of them

The original looks all of them up. What UPT and PViC write (a `CacheTemplate`) answers for those
that it lacks, with the score 0 and the box (0, 0, 0.1, 0.1): these are predictions like all others.
It reads everything as float32, and leaves out what has NaN for a score.
"""

import dataclasses
import difflib
import reprlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.formats.table import PERSON, Table
from ggnet_jax.evaluation.formats.unpickle import CACHE_CLASS, Filled, numbers_of

ACTIONS_WITHOUT_OBJECT = {3: "walk", 17: "smile", 22: "run", 27: "stand"}
"""The four verb-role ids that the vocabulary does not have; they count for agent AP alone."""
FILLED_BOX = [0.0, 0.0, 0.1, 0.1]
"""The object of a role that a `CacheTemplate` lacks."""

_EMPTY = [*FILLED_BOX, 0.0]
_ALIASES = {"talk": "talk_on_phone", "work": "work_on_computer"}  # iCAN's names
_CHUNK = 4096


@dataclasses.dataclass(frozen=True)
class Detections:
    """D predicted people, each with any of G groups: 25 verb-roles, then 26 agents.

    Attributes:
        path: of the file, for messages.
        groups: G names, such as "hold_obj" and "hold_agent".
        image_id: [D] int64, COCO's.
        person_box: [D, 4] float64.
        person: [e] row of the person of each role or agent that is there.
        group: [e] which group it is.
        box: [e, 4] float64, zeros for an agent.
        score: [e] float64.
        filled: [G, D] bool, the groups that count with the score 0 and `FILLED_BOX`.
        notes: lines that the user has to see.
    """

    path: str
    groups: tuple[str, ...]
    image_id: np.ndarray
    person_box: np.ndarray
    person: np.ndarray
    group: np.ndarray
    box: np.ndarray
    score: np.ndarray
    filled: np.ndarray
    notes: tuple[str, ...]

    def place(self, row: int) -> str:
        """Where a role or agent is in the file, for messages."""
        return f"entry {self.person[row]}, {self.groups[self.group[row]]!r}"


def is_list(content: Any) -> bool:
    """Whether an object is such a list."""
    return (
        isinstance(content, list | tuple)
        and len(content) > 0
        and all(isinstance(one, Mapping) for one in content[:1])
        and {"image_id", "person_box"} <= content[0].keys()
    )


def read(
    path: str | Path, content: Sequence[Any], progress: Callable[[float], None] | None = None
) -> Detections:
    """The predictions in such a list.

    Args:
        path: of the file, for messages.
        content: what `is_list` accepts.
        progress: called with how much has been read, 0 to 1.

    Raises:
        UserError: an entry lacks its image or its person, has a role that nobody knows, or values
            that are not numbers.
    """
    groups = group_names()
    known = {name: index for index, name in enumerate(groups)}
    for name in groups:
        action, _, role = name.rpartition("_")
        known |= {f"{s}_{role}": known[name] for s, long in _ALIASES.items() if long == action}
    num_roles = sum(not name.endswith("_agent") for name in groups)
    person, group, numbers = array("q"), array("q"), array("d")
    ids, boxes = array("q"), array("d")
    absent = np.zeros((len(groups), len(content)), bool)
    others: dict[Any, int] = {}
    for row, entry in enumerate(content):
        if progress and row % _CHUNK == 0:
            progress(row / len(content))
        where = f"{path}: entry {row}"
        if not isinstance(entry, Mapping) or not {"image_id", "person_box"} <= entry.keys():
            raise UserError(f"{where} is not a dictionary with 'image_id' and 'person_box'")
        if isinstance(entry, Filled) or type(entry).__name__ == CACHE_CLASS:
            absent[:, row] = True
        for key, value in entry.items():
            index = known.get(key)
            if index is None:
                if key == "image_id":
                    ids.append(_image_id(value, where))
                elif key == "person_box":
                    boxes.extend(_numbers(value, 4, where, key))
                elif key not in others:
                    others[key] = row
                continue
            absent[index, row] = False
            if index < num_roles:
                if value == _EMPTY:
                    absent[index, row] = True
                    continue
                numbers.extend(_numbers(value, 5, where, key))
            else:
                numbers.extend((0.0, 0.0, 0.0, 0.0, *_numbers(value, 1, where, key)))
            person.append(row)
            group.append(index)
    _check_names(path, others, known)
    values = _float32(numbers, 5)
    kept = np.flatnonzero(~np.isnan(values[:, 4]))
    return Detections(
        path=str(path),
        groups=groups,
        image_id=np.array(ids, np.int64),
        person_box=_float32(boxes, 4),
        person=np.array(person, np.int64)[kept],
        group=np.array(group, np.int64)[kept],
        box=values[kept, :4],
        score=values[kept, 4],
        filled=absent,
        notes=_notes(absent, num_roles, np.bincount(person, minlength=len(content))),
    )


def to_table(detections: Detections) -> Table:
    """The predictions that are written in the file, with PPDM's ids; what is filled is left out.

    V-COCO's pickles have no object categories: a box gets one that its verb goes with.
    """
    vocabulary = vocabularies.load("v_coco")
    verb_id = dict(zip(vocabulary.verbs, vocabulary.verb_ids, strict=True))
    verb_id |= {f"{name}_agent": number for number, name in ACTIONS_WITHOUT_OBJECT.items()}
    ids = np.array([verb_id.get(name, -1) for name in detections.groups])
    likely = {vocabulary.verb_ids[v]: vocabulary.object_ids[o] for v, o in vocabulary.classes[::-1]}
    category = np.array([likely.get(number, PERSON) for number in ids.tolist()])
    rows = np.flatnonzero(ids[detections.group] >= 0)
    person, group = detections.person[rows], detections.group[rows]
    box = detections.box[rows]
    images, image = np.unique(detections.image_id, return_inverse=True)
    names = np.array(detections.groups)[group]
    has_object = ~(np.char.endswith(names, "_agent") | (box == 0).all(axis=1))
    return Table(
        names=[f"{number:012d}.jpg" for number in images.tolist()],
        image=image[person],
        boxes=np.hstack([detections.person_box[person], box]),
        category=category[group],
        verb=ids[group],
        score=detections.score[rows],
        where=lambda row: detections.place(int(rows[row])),
        has_object=has_object & ~np.isnan(box).all(axis=1),
    )


def group_names() -> tuple[str, ...]:
    """The names of the 25 verb-roles and the 26 agents."""
    verbs = vocabularies.load("v_coco").verbs
    actions = dict.fromkeys([verb.rpartition("_")[0] for verb in verbs])
    actions |= dict.fromkeys(ACTIONS_WITHOUT_OBJECT.values())
    return (*verbs, *(f"{action}_agent" for action in actions))


def _numbers(value: Any, count: int, where: str, key: str) -> Sequence[float]:
    if type(value) is list and len(value) == count and set(map(type, value)) == {float}:
        return value
    if count == 1 and type(value) is float:
        return (value,)
    found = numbers_of(value, count).tolist()
    if len(found) != count:
        raise UserError(
            f"{where}: {key!r} is {reprlib.repr(value):.80}; it needs {count} "
            f"number{'s' if count > 1 else ''}"
        )
    return found


def _float32(numbers: array, width: int) -> np.ndarray:
    """[n, width] as the original keeps them; what is too large for it becomes infinite."""
    with np.errstate(over="ignore"):
        return np.array(numbers, np.float32).astype(np.float64).reshape(-1, width)


def _image_id(value: Any, where: str) -> int:
    try:
        number = int(value)
        if float(value) == number and 0 <= number < 10**12 and not isinstance(value, bool):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise UserError(
        f"{where}: image_id is {reprlib.repr(value):.60}, and not COCO's number of an image"
    )


def _check_names(path: str | Path, others: Mapping[Any, int], known: Mapping[str, int]) -> None:
    """Raise a UserError for a key that looks like a role and is none."""
    for key, row in others.items():
        if str(key).endswith(("_agent", "_obj", "_instr", "_object", "_instrument")):
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f"; rename it to {close[0]!r}" if close else ""
            raise UserError(f"{path}: entry {row} has {key!r}, which is no role of V-COCO{hint}")


def _notes(filled: np.ndarray, num_roles: int, given: np.ndarray) -> tuple[str, ...]:
    """What is not in the file and counts, and what does not count.

    Args:
        filled: [G, D], as in `Detections`.
        num_roles: of the G groups.
        given: [D] how many groups each entry has.
    """
    notes = []
    roles, agents = int(filled[:num_roles].sum()), int(filled[num_roles:].sum())
    if roles + agents:
        notes.append(
            f"predictions: {roles:,} roles and {agents:,} agents that are not in the file count "
            "with the score 0, as V-COCO's code reads them"
        )
    lacking = int((given + filled.sum(axis=0) < len(filled)).sum())
    if lacking:
        notes.append(
            f"predictions: {lacking:,} entries lack roles or agents, at which V-COCO's own code "
            "stops; here they are not predicted"
        )
    return tuple(notes)
