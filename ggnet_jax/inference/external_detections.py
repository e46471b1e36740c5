"""External detections: another detector's boxes to match (Table 5's rows with DRG's detections)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax.config import OUTPUT_STRIDE
from ggnet_jax.errors import UserError
from ggnet_jax.inference import geometry
from ggnet_jax.inference.decoding import BoxDetections
from ggnet_jax.io import read_json
from ggnet_jax.vocabularies import Vocabulary

MAX_BOXES = 100  # an image, as many as there are candidates of the object branch
_ROUNDING = 1e-3  # by so much a score may lie beyond 0 or 1
_BEYOND = 1.1  # times an image's side: no detector's box reaches farther


class ExternalDetections:
    """Boxes by image, from a JSON file in the format of COCO's detection results."""

    def __init__(self, boxes: Sequence[np.ndarray], unmatched: int = 0):
        """Hold boxes [n, 6] for every image: x1, y1, x2, y2, object class, score.

        Args:
            boxes: of every image of the split.
            unmatched: how many boxes there are of other images.
        """
        self._boxes, self._unmatched = boxes, unmatched
        self._checked = self._beyond = self._corners = 0  # boxes in images whose size is known
        self._size = max(1, min(MAX_BOXES, max((len(rows) for rows in boxes), default=0)))

    @classmethod
    def read(
        cls, path: str | Path, vocabulary: Vocabulary, truth: Sequence[Mapping[str, Any]]
    ) -> "ExternalDetections":
        """Read a list of {"image_id" or "file_name", "category_id", "bbox": [x, y, w, h], "score"}.

        Args:
            path: of the file.
            vocabulary: whose `object_ids` the categories are.
            truth: the split's entries in order, for file names and `img_id`. An `image_id` is
                an entry's `img_id` or else the last number in its file name, as COCO's are.

        Raises:
            UserError: the file or an entry can't be read; the message names the entry.
        """
        try:
            entries = read_json(path, allow_nan=True)  # refused with the entry's number
        except UserError as error:
            raise UserError(f"config.eval.detections: {error}") from error
        if not isinstance(entries, list):
            raise UserError(
                f"config.eval.detections: {path} must hold a list, one entry a box, not a JSON "
                f"{'object' if isinstance(entries, dict) else 'value'}"
            )
        by_name = {str(entry["file_name"]): k for k, entry in enumerate(truth)}
        by_id = {_image_id(entry): k for k, entry in enumerate(truth)}
        rows: list[list[tuple[float, ...]]] = [[] for _ in truth]
        unmatched = 0
        for number, entry in enumerate(entries):
            where = f"config.eval.detections: entry {number} of {path}"
            try:
                if "file_name" in entry:
                    image = by_name.get(str(entry["file_name"]))
                else:
                    image = by_id.get(_whole(entry["image_id"]))
                x, y, w, h = (float(v) for v in entry["bbox"])
                score = float(entry["score"])
                obj = vocabulary.object_index(_whole(entry["category_id"]))
            except KeyError as error:
                raise UserError(f"{where} has no {error}") from error
            except (TypeError, ValueError, OverflowError) as error:
                raise UserError(
                    f"{where} can't be read; it needs file_name or a whole image_id, a whole "
                    f"category_id, bbox of four numbers and a score, not {entry!r:.150}"
                ) from error
            in_range = -_ROUNDING <= score <= 1 + _ROUNDING
            if not np.isfinite([x, y, w, h]).all() or w < 0 or h < 0 or not in_range:
                percent = "; divide percentages by 100" if 1 < score <= 100 else ""
                raise UserError(
                    f"{where} has bbox {entry['bbox']} and score {entry['score']}; "
                    f"sides can't be negative and scores lie between 0 and 1{percent}"
                )
            if image is None:
                unmatched += 1
            else:
                rows[image].append((x, y, x + w, y + h, obj, min(max(score, 0.0), 1.0)))
        if entries and unmatched == len(entries):
            raise UserError(
                f"config.eval.detections: no entry of {path} belongs to an image of this split; "
                "check file_name or image_id"
            )
        # The best first: more than fit are dropped from the end.
        boxes = [np.array(sorted(r, key=lambda b: -b[5]), float).reshape(-1, 6) for r in rows]
        if any(map(len, boxes)) and max(b[:, :4].max(initial=0) for b in boxes) <= 2:
            raise UserError(
                f"config.eval.detections: all boxes of {path} lie within 0 to 1; multiply x and "
                "width by the image's width, y and height by its height"
            )
        return cls(boxes, unmatched)

    def notes(self) -> list[str]:
        """What a person should know of the boxes that were used so far."""
        said = []
        if self._unmatched:
            said.append(
                f"config.eval.detections: {self._unmatched} boxes are of images beside the split"
            )
        if self._beyond:
            said.append(
                f"config.eval.detections: {self._beyond} of {self._checked} boxes reach far beyond "
                "their image; are they x, y, width, height in its pixels?"
            )
        return said

    def batch(
        self, image_id: np.ndarray, size: np.ndarray, input_size: tuple[int, int]
    ) -> BoxDetections:
        """Boxes of a batch in map cells, padded to the same number for every batch.

        Args:
            image_id: [B] index of each image in the split, -1 for padding.
            size: [B, 2] (width, height) of the images.
            input_size: (H, W) of the network's input.

        Raises:
            UserError: the boxes reach beyond their images, and would fit as corners.
        """
        count = (len(image_id), self._size)
        boxes = np.zeros((*count, 4), np.float32)
        classes, scores = np.zeros(count, np.int32), np.zeros(count, np.float32)
        valid = np.zeros(count, bool)
        for row, (image, (width, height)) in enumerate(zip(image_id, size, strict=True)):
            if image < 0:
                continue
            found = self._boxes[image][: self._size]
            self._check(found, np.array([width, height]))
            matrix = geometry.letterbox(width, height, input_size)
            corners = geometry.apply(matrix, found[:, :4].reshape(-1, 2, 2))
            boxes[row, : len(found)] = corners.reshape(-1, 4) / OUTPUT_STRIDE
            classes[row, : len(found)] = found[:, 4]
            scores[row, : len(found)] = found[:, 5]
            valid[row, : len(found)] = True
        return BoxDetections(boxes, classes, scores, valid)

    def _check(self, boxes: np.ndarray, size: np.ndarray) -> None:
        """Count the boxes of an image that reach far beyond it; raise if they must be corners."""
        first, last = boxes[:, :2], boxes[:, 2:4]
        given = last - first  # as the file has them: sides, or the second corners
        self._checked += len(boxes)
        self._beyond += int((last > _BEYOND * size + 2).any(1).sum())
        self._corners += int(((given > first) & (given <= size + 2)).all(1).sum())
        if self._beyond >= 0.25 * self._checked > 0 and self._corners == self._checked:
            raise UserError(
                f"config.eval.detections: {self._beyond} of {self._checked} boxes reach beyond "
                "their image, and all would fit as corners x1, y1, x2, y2; write x, y, width, "
                "height"
            )


def _whole(value: Any) -> int:
    """A number without a fraction, or its digits, as an integer."""
    number = int(value)
    if not isinstance(value, str) and number != value:
        raise ValueError(f"{value!r} is not a whole number")
    return number


def _image_id(entry: Mapping[str, Any]) -> int:
    """An entry's number: `img_id`, or the digits that end its file name, -1 without any."""
    try:
        return int(entry["img_id"])
    except (KeyError, TypeError, ValueError):
        stem = Path(str(entry["file_name"])).stem
        digits = stem[len(stem.rstrip("0123456789")) :]
        return int(digits) if digits else -1
