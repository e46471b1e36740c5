"""The tasks of a JSON export of Label Studio -> images with named boxes and relations."""

import dataclasses
import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from data_pipelines.label_studio import addresses
from data_pipelines.label_studio.findings import Findings
from data_pipelines.label_studio.regions import (
    Region,
    Relation,
    check_ids,
    check_result,
    read_results,
)
from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.inference import image_files

_EXPORT = "in Label Studio choose Export, then JSON"


@dataclasses.dataclass(frozen=True)
class LabeledImage:
    """One image of an export.

    Attributes:
        where: task and address, for messages.
        address: of the image, as Label Studio has it.
        size: (width, height) in pixels, None where the export does not tell.
        regions: its labeled rectangles.
        relations: between them.
    """

    where: str
    address: str
    size: tuple[int, int] | None
    regions: list[Region]
    relations: list[Relation]


def read_tasks(path: str) -> list[Mapping[str, Any]]:
    """The tasks in an export.

    Raises:
        UserError: the file is not an export, or is one that has no relations.
    """
    content = io.read_json(path, allow_nan=True)
    if isinstance(content, Mapping):
        if {"annotations", "data"} <= content.keys():
            raise UserError(f"{path} is a single task, not a list; put it into a list")
        if {"annotations", "images"} <= content.keys():
            raise UserError(f"{path} is in COCO's format, which has no relations; {_EXPORT}")
    if not isinstance(content, list):
        raise UserError(
            f"{path} is not a list of Label Studio's tasks but {content!r:.60}; {_EXPORT}"
        )
    if not content:
        raise UserError(f"{path} is an empty list; {_EXPORT}")
    for number, task in enumerate(content):
        if not isinstance(task, Mapping):
            raise UserError(f"{path}: item {number} is not a task but {task!r:.60}; {_EXPORT}")
        if "hoi_annotation" in task or "file_name" in task:
            raise UserError(f"{path} is in PPDM's format, which config.data.name=json reads")
        if "annotation_id" in task and "data" not in task:
            raise UserError(f"{path} is a JSON-MIN export, which has no relations; {_EXPORT}")
        data, annotations = task.get("data"), _annotations(task)
        if not isinstance(data, Mapping) or not isinstance(annotations, list):
            keys = ", ".join(map(repr, task))
            what = f"its keys are {keys:.200}" if keys else "it is empty"
            if "data" in task and not isinstance(data, Mapping):
                what = f"its 'data' is {data!r:.60}"
            elif annotations is not None or "annotations" in task:
                what = f"its 'annotations' are {annotations!r:.60}"
            raise UserError(
                f"{path}: item {number} is not a task with an object 'data' and a list "
                f"'annotations': {what}; {_EXPORT}"
            )
    return content


def read(path: str, findings: Findings) -> list[LabeledImage]:
    """The annotated images of an export, in the order of its tasks.

    Args:
        path: of the export.
        findings: takes what is left out or read otherwise.

    Raises:
        UserError: the file is not an export, a task is malformed, or not one is annotated.
    """
    tasks = read_tasks(path)
    of_image: dict[str, list[tuple[str, Mapping[str, Any], int]]] = {}
    drafts = predicted = 0
    for number, task in enumerate(tasks):
        name = f"task {task.get('id', number)}"
        annotations = list(_submitted(task, f"{path}: {name}"))
        if not annotations:
            findings.add("skipped" if _annotations(task) else "unlabeled", name)
            drafts += bool(task.get("drafts"))
            predicted += bool(task.get("predictions"))
            continue
        pages = _addresses(task, f"{path}: {name}")
        for annotation in annotations:
            _check_pages(annotation, len(pages), f"{path}: {name}")
        for item, address in enumerate(pages):
            found = of_image.setdefault(address, [])
            found += [(f"{name} ({address})", annotation, item) for annotation in annotations]
    if not of_image:
        counts = findings.counts
        raise UserError(
            f"{path} has no annotation to train on: of {len(tasks)} tasks {counts['unlabeled']} "
            f"are not annotated and {counts['skipped']} were skipped; {drafts} have drafts, which "
            f"count once they are submitted, and {predicted} have predictions, which count once "
            "they are made annotations"
        )
    images = []
    for address, found in of_image.items():
        if len(found) > 1:
            findings.add("several", found[0][0])
        where, annotation, item = max(enumerate(found), key=_precedence)[1]
        results = _results(annotation, item, f"{path}: {where}")
        boxes, relations = read_results(results, where, findings)
        images.append(LabeledImage(where, address, _size(results), boxes, relations))
    return images


def _annotations(task: Mapping[str, Any]) -> Any:
    return task.get("annotations", task.get("completions"))  # their name before Label Studio 1.0


def _submitted(task: Mapping[str, Any], where: str) -> Iterator[Mapping[str, Any]]:
    """The annotations of a task that were not skipped."""
    for annotation in _annotations(task):
        if not isinstance(annotation, Mapping):
            raise UserError(
                f"{where} has an annotation that is {annotation!r:.40}; export the annotations in "
                "full, not their ids alone"
            )
        if not (annotation.get("was_cancelled") or annotation.get("skipped")):
            yield annotation


def _precedence(item: tuple[int, tuple[str, Mapping[str, Any], int]]) -> tuple[Any, ...]:
    """What orders the annotations of an image: ground truth, then the time of the last change."""
    position, (_, annotation, _) = item
    seconds = -math.inf
    for key in ("updated_at", "created_at"):
        try:
            time = datetime.datetime.fromisoformat(str(annotation.get(key)))
        except ValueError:
            continue
        seconds = (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp()
        break
    return annotation.get("ground_truth") is True, seconds, position


def _addresses(task: Mapping[str, Any], where: str) -> list[str]:
    """The image of a task, or the images of its pages."""
    data = task["data"]
    values = {
        key: list(value) if isinstance(value, list) else [value] for key, value in data.items()
    }
    texts = {
        key: value
        for key, value in values.items()
        if value and all(isinstance(text, str) and text.strip() for text in value)
    }
    like_images = [key for key, value in texts.items() if all(map(_is_like_image, value))]
    for keys in (["image"], like_images, list(texts)):
        if len(keys) == 1 and keys[0] in texts:
            found = texts[keys[0]]
            break
    else:
        listed = ", ".join(f"{key!r}: {value!r:.40}" for key, value in data.items()) or "nothing"
        raise UserError(
            f"{where} does not say which field of its data is the image: {listed:.200}; call it "
            "'image'"
        )
    for address in found:
        if not addresses.names(address):
            raise UserError(f"{where}: its image {address!r:.80} has no file name")
    if any(map(addresses.is_embedded, found)):
        raise UserError(
            f"{where} has its image in the export itself ({found[0]:.30}...); only images in files "
            "are read: save it into the image folder and put its name there"
        )
    return found


def _is_like_image(text: str) -> bool:
    name = addresses.names(text)[:1]
    return bool(name) and PurePosixPath(name[0]).suffix.lower() in image_files.endings()


def _check_pages(annotation: Mapping[str, Any], pages: int, where: str) -> None:
    """Raise a UserError for a result of a page that the task does not have."""
    results = annotation.get("result")
    for number, result in enumerate(results if isinstance(results, list) else []):
        page = result.get("item_index") if isinstance(result, Mapping) else None
        if page is not None and (type(page) is not int or not 0 <= page < pages):
            have = f"the task has {pages} images" if pages > 1 else "the task has one image"
            raise UserError(f"{where}, result {number}: its 'item_index' is {page!r:.60}; {have}")


def _results(annotation: Mapping[str, Any], item: int, where: str) -> list[Mapping[str, Any]]:
    """The results of a page of the task (the only one, as a rule), and all relations."""
    results = annotation.get("result")
    if results is None:
        return []
    if not isinstance(results, list):
        raise UserError(f"{where}: 'result' is not a list of JSON objects but {results!r:.60}")
    for number, result in enumerate(results):
        check_result(result, f"{where}, result {number}")
    found = [r for r in results if r["type"] == "relation" or (r.get("item_index") or 0) == item]
    check_ids(found, where)
    return found


def _size(results: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """The size in pixels that the results give the image."""
    for result in results:
        width, height = result.get("original_width"), result.get("original_height")
        if isinstance(width, int | float) and isinstance(height, int | float):
            if 1 <= width < 2**31 and 1 <= height < 2**31:
                return int(width), int(height)
    return None
