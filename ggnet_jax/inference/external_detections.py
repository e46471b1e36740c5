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


class ExternalDetections:
    """Boxes by image, from a JSON file in the format of COCO's detection results."""

    def __init__(self, boxes: Sequence[np.ndarray]):
        """Hold boxes [n, 6] for every image: x1, y1, x2, y2, object class, score."""
        self._boxes = boxes
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
            raise UserError(f"eval.detections: {error}") from error
        if not isinstance(entries, list):
            raise UserError(f"eval.detections: {path} must hold a list, one entry a box")
        by_name = {str(entry["file_name"]): k for k, entry in enumerate(truth)}
        by_id = {_image_id(entry): k for k, entry in enumerate(truth)}
        rows: list[list[tuple[float, ...]]] = [[] for _ in truth]
        unmatched = 0
        for number, entry in enumerate(entries):
            where = f"eval.detections: entry {number} of {path}"
            try:
                if "file_name" in entry:
                    image = by_name.get(str(entry["file_name"]))
                else:
                    image = by_id.get(int(entry["image_id"]))
                x, y, w, h = (float(v) for v in entry["bbox"])
                score = float(entry["score"])
                obj = vocabulary.object_index(int(entry["category_id"]))
            except KeyError as error:
                raise UserError(f"{where} has no {error}") from error
            except (TypeError, ValueError) as error:
                raise UserError(f"{where} can't be read ({error})") from error
            if not np.isfinite([x, y, w, h]).all() or w < 0 or h < 0 or not 0 <= score <= 1:
                raise UserError(
                    f"{where} has bbox {entry['bbox']} and score {entry['score']}; "
                    "sides can't be negative and scores lie between 0 and 1"
                )
            if image is None:
                unmatched += 1
            else:
                rows[image].append((x, y, x + w, y + h, obj, score))
        if entries and unmatched == len(entries):
            raise UserError(
                f"eval.detections: no entry of {path} belongs to an image of this split; "
                "check file_name or image_id"
            )
        # The best first: more than fit are dropped from the end.
        return cls([np.array(sorted(r, key=lambda b: -b[5]), float).reshape(-1, 6) for r in rows])

    def batch(
        self, image_id: np.ndarray, size: np.ndarray, input_size: tuple[int, int]
    ) -> BoxDetections:
        """Boxes of a batch in map cells, padded to the same number for every batch.

        Args:
            image_id: [B] index of each image in the split, -1 for padding.
            size: [B, 2] (width, height) of the images.
            input_size: (H, W) of the network's input.
        """
        count = (len(image_id), self._size)
        boxes = np.zeros((*count, 4), np.float32)
        classes, scores = np.zeros(count, np.int32), np.zeros(count, np.float32)
        valid = np.zeros(count, bool)
        for row, (image, (width, height)) in enumerate(zip(image_id, size, strict=True)):
            if image < 0:
                continue
            found = self._boxes[image][: self._size]
            matrix = geometry.letterbox(width, height, input_size)
            corners = geometry.apply(matrix, found[:, :4].reshape(-1, 2, 2))
            boxes[row, : len(found)] = corners.reshape(-1, 4) / OUTPUT_STRIDE
            classes[row, : len(found)] = found[:, 4]
            scores[row, : len(found)] = found[:, 5]
            valid[row, : len(found)] = True
        return BoxDetections(boxes, classes, scores, valid)


def _image_id(entry: Mapping[str, Any]) -> int:
    """An entry's number: `img_id`, or the digits that end its file name, -1 without any."""
    try:
        return int(entry["img_id"])
    except (KeyError, TypeError, ValueError):
        stem = Path(str(entry["file_name"])).stem
        digits = stem[len(stem.rstrip("0123456789")) :]
        return int(digits) if digits else -1
