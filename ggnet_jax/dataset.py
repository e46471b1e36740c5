"""Protocols that a data package must implement; `data_pipelines` does.

`ggnet_jax` imports no data package: the caller passes one in.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ggnet_jax.inspection.columns import Inspection
from ggnet_jax.vocabularies import Vocabulary

Batch = Mapping[str, np.ndarray]
"""One process's share of a batch. B images, N boxes and R relations of each
(`config.data.max_boxes` and `max_relations`), input size H x W:

    image           [B, H, W, 3] RGB: float32 in about [0, 1], or uint8. Not normalized.
    boxes           [B, N, 4] float32 (x1, y1, x2, y2) in map cells (input pixels / 4), not clipped
    classes         [B, N] int32 object index
    box_valid       [B, N] bool
    relations       [B, R, 3] int32 (human box, object box, verb)
    relation_valid  [B, R] bool
    example_weight  [B] float32, 0 for the padding of a last partial batch
    image_id        [B] int32, position in the split, -1 for padding
    size            [B, 2] int32 (width, height) of the image
"""
VALIDATION = "val"
"""What the validation split is called wherever a split is named."""


class Dataset(Protocol):
    """A prepared data set with a training and an evaluation split.

    A package without validation splits may leave out what is of those, and `fingerprint`.
    """

    @property
    def vocabulary(self) -> Vocabulary:
        """What the class indices of the batches refer to."""
        ...

    @property
    def eval_split(self) -> str:
        """The evaluation split; '' where there is nothing to evaluate on."""
        ...

    @property
    def val_split(self) -> str:
        """The validation split, where checkpoints are compared; '' for none."""
        ...

    @property
    def val_fingerprint(self) -> str:
        """Changes with the images and annotations of the validation split."""
        ...

    @property
    def num_train(self) -> int:
        """Images that are trained on, none of which is of the validation split."""
        ...

    @property
    def num_held_out(self) -> int:
        """Images of the training split that training leaves to the validation split."""
        ...

    @property
    def num_eval(self) -> int:
        """Images of the evaluation split."""
        ...

    @property
    def num_val(self) -> int:
        """Images of the validation split."""
        ...

    @property
    def num_val_evaluated(self) -> int:
        """Images of the validation split that the evaluation split shows as well."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes with the images and annotations that are trained on: a resumed run tells."""
        ...

    @property
    def verbs_of_object(self) -> np.ndarray:
        """[O, V] bool: the pairs that occur in training, for hard negatives (section 3.3)."""
        ...

    def ground_truth(self, split: str) -> list[dict[str, Any]]:
        """The split's entries in PPDM's format; entry k is that of the batches' `image_id` k.

        "val" is the validation split, here and below.
        """
        ...

    def vcoco_annotations(
        self, split: str, truth: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]] | None:
        """V-COCO's own annotations and COCO's instances for the images of `ground_truth`.

        None where the split was not built from them.
        """
        ...

    def example_images(self, split: str, count: int) -> Iterator[tuple[str, np.ndarray]]:
        """File names and RGB uint8 images [h, w, 3] of examples evenly spaced over a split."""
        ...


class DataPipelines(Protocol):
    """From a run's configuration to batches; the functions of the package `data_pipelines`."""

    def load_dataset(self, config: Any, *, training: bool = True) -> Dataset:
        """The data set that `config.data` describes, built first if it isn't there yet."""
        ...

    def inspect_dataset(self, config: Any) -> Inspection:
        """The annotations of what `config.data` describes as arrays, built first if need be."""
        ...

    def steps_per_epoch(self, dataset: Any, config: Any) -> int:
        """Number of whole batches in the training split."""
        ...

    def train_batches(
        self,
        dataset: Any,
        config: Any,
        *,
        start_step: int = 0,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[Batch]:
        """Augmented batches of the training split without end, from `start_step` on."""
        ...

    def eval_batches(
        self,
        dataset: Any,
        config: Any,
        split: str,
        *,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[Batch]:
        """The split once, in order; the last batch is padded with `example_weight` 0."""
        ...
