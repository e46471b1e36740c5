"""Stands in for `data_pipelines` in tests of the evaluation entry: a few images of noise."""

from types import SimpleNamespace

import numpy as np
from tiny import VOCABULARY

IMAGE_SIZE = (64, 96)
ORIGINAL_SIZE = (120, 60)  # width, height


class FakeSplit:
    """A split of noise with one annotated pair an image; counts the batches handed out."""

    def __init__(self, images: int, stop_after: int | None = None, vocabulary=VOCABULARY):
        self.num_eval = images
        self.vocabulary = vocabulary
        self.stop_after = stop_after  # batches, after which someone presses Ctrl-C

    def config(self, *, batch_size: int = 2, **changes) -> SimpleNamespace:
        fields = {
            "batch_size": batch_size, "top_k": 60, "protocol": "hico", "detections": "",
        }  # fmt: skip
        return SimpleNamespace(
            data=SimpleNamespace(image_size=IMAGE_SIZE, eval_split="test"),
            eval=SimpleNamespace(**(fields | changes)),
            model=SimpleNamespace(dtype="float32"),
        )

    def load_dataset(self, config, *, training=True) -> "FakeSplit":
        return self

    def vcoco_annotations(self, split, truth):
        return None

    def ground_truth(self, split: str) -> list[dict]:
        boxes = [{"bbox": [10, 5, 60, 55], "category_id": 1},
                 {"bbox": [40, 30, 110, 58], "category_id": 2}]  # fmt: skip
        pair = {"subject_id": 0, "object_id": 1, "category_id": 3}
        return [
            {"file_name": f"{k}.jpg", "annotations": boxes, "hoi_annotation": [pair]}
            for k in range(self.num_eval)
        ]

    def eval_batches(self, dataset, config, split, *, process_index=0, process_count=1):
        size = config.eval.batch_size // process_count
        steps = -(-self.num_eval // config.eval.batch_size)
        for step in range(steps):
            if step == self.stop_after:
                raise KeyboardInterrupt
            ids = (step * process_count + process_index) * size + np.arange(size)
            real = ids < self.num_eval
            yield {
                "image": np.stack([_noise(k) * ok for k, ok in zip(ids, real, strict=True)]),
                "image_id": np.where(real, ids, -1).astype(np.int32),
                "example_weight": real.astype(np.float32),
                "size": np.where(real[:, None], ORIGINAL_SIZE, 0).astype(np.int32),
            }


def _noise(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*IMAGE_SIZE, 3), np.uint8)
