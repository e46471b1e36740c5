"""`config.data` -> a prepared data set with its vocabulary and statistics.

Building needs the original files; everything after that reads the prepared TFDS folder alone, which
is built again when the files have changed (prepared.py).
"""

import dataclasses
import functools
import hashlib
import importlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from data_pipelines import annotations, records, splits
from data_pipelines.hoi_builder import HoiBuilder
from data_pipelines.prepared import open_builder
from data_pipelines.splits import split_names
from data_pipelines.statistics import Statistics
from data_pipelines.v_coco import vsrl
from ggnet_jax import io
from ggnet_jax.dataset import VALIDATION
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary, zero_shot

BUILDERS = {  # config.data.name -> module and class, imported when asked for
    "figures_hoi": ("data_pipelines.figures_hoi", "FiguresHoi"),
    "hico_det": ("data_pipelines.hico_det", "HicoDet"),
    "v_coco": ("data_pipelines.v_coco", "VCoco"),
    "json": ("data_pipelines.hoi_json", "HoiJson"),
    "label_studio": ("data_pipelines.label_studio.label_studio", "LabelStudio"),
}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared data set.

    Attributes:
        builder: the TFDS builder; `builder.metadata` has the data reports.
        vocabulary: what the indices of the examples refer to.
        train_split: TFDS's expression of the split that is trained on.
        eval_split: of the one that is evaluated; '' where there is nothing to evaluate on.
        unseen: [O, V] bool, the pairs that a zero-shot split leaves out of training; None for none.
        val_split: the validation split as an expression or a share, see splits.py; '' for none.
        val_seed: draws the share.
    """

    builder: HoiBuilder
    vocabulary: Vocabulary
    train_split: str
    eval_split: str
    unseen: np.ndarray | None = None
    val_split: str = ""
    val_seed: int = 0

    @property
    def num_train(self) -> int:
        """Images that are trained on: those of the training split without the validation split."""
        return len(self.train_index)

    @property
    def num_eval(self) -> int:
        """Images of the evaluation split."""
        return len(self.index(self.eval_split)) if self.eval_split else 0

    @property
    def num_val(self) -> int:
        """Images of the validation split."""
        return len(self.index(VALIDATION)) if self.val_split else 0

    def index(self, split: str) -> records.RecordIndex:
        """The examples of a split: TFDS's expression, a share of the training split, or "val"."""
        if split == VALIDATION and self.val_split:
            split = self.val_split
        return splits.index(self.builder, split, self.train_split, self.val_seed)

    @functools.cached_property
    def train_index(self) -> records.RecordIndex:
        """The examples that are trained on, none of which shows an image of the validation split.

        Raises:
            UserError: there is none.
        """
        whole = records.index_split(self.builder, self.train_split)
        if not self.val_split:
            return whole
        held_out = splits.shared(self.builder, whole, self.index(VALIDATION))
        if len(whole) and held_out.all():
            raise UserError(
                f"config.data.val_split={self.val_split!r} holds out all {len(whole)} images of "
                f"the training split {self.train_split!r}; hold out fewer, or none with "
                "--config.data.val_split= and --config.eval.best="
            )
        return whole.take(np.flatnonzero(~held_out))

    @property
    def num_held_out(self) -> int:
        """Images of the training split that training leaves to the validation split."""
        whole = len(records.index_split(self.builder, self.train_split))
        return whole - len(self.train_index)

    @property
    def num_val_evaluated(self) -> int:
        """Images of the validation split that the evaluation split shows as well."""
        if not self.val_split or not self.eval_split or self.eval_split == VALIDATION:
            return 0
        ours, theirs = self.index(VALIDATION), self.index(self.eval_split)
        return int(splits.shared(self.builder, ours, theirs).sum())

    def statistics(self, split: str) -> Statistics:
        """The counts of every whole split that the expression `split` takes something from."""
        total = Statistics()
        for name in self.split_names(split):
            total.merge(Statistics.from_dict(self.builder.metadata["statistics"][name]))
        return total

    @functools.cached_property
    def _pair_counts(self) -> np.ndarray:
        """[O, V] int64: relations of each pair in training.

        They were counted while the splits were built: with a validation split, those of the images
        that are not trained on are taken off. (Without one, an expression such as "train[:50]"
        counts the whole of its splits, as runs of earlier versions did.)
        """
        counts = np.zeros((self.vocabulary.num_objects, self.vocabulary.num_verbs), np.int64)
        pairs = Counter(self.statistics(self.train_split).pairs)
        if self.val_split:
            whole = records.index_split(self.builder, "+".join(self.split_names(self.train_split)))
            trained = set(self.train_index.keys())
            others = [n for n, key in enumerate(whole.keys()) if key not in trained]
            pairs.subtract(records.count(self.builder, whole.take(np.array(others, int))).pairs)
        for (obj, verb), number in pairs.items():
            counts[obj, verb] = number
        return counts if self.unseen is None else np.where(self.unseen, 0, counts)

    @property
    def verbs_of_object(self) -> np.ndarray:
        """[O, V] bool: the pairs that occur in training, for hard negatives (section 3.3)."""
        return self._pair_counts > 0

    @property
    def verb_counts(self) -> np.ndarray:
        """[V] int64: training relations of each verb."""
        return self._pair_counts.sum(axis=0)

    @property
    def fingerprint(self) -> str:
        """Changes with the images and annotations of training; the same in every copy of them."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        seen = self._content(self.train_split)
        if self.val_split:
            seen.append(self.val_fingerprint)
        return _hash(seen)

    @property
    def val_fingerprint(self) -> str:
        """Changes with the images and annotations of the validation split; '' without one."""
        if not self.val_split:
            return ""
        share = splits.share(self.val_split) is not None
        drawn = [self.train_split, self.val_seed] if share else []
        return _hash([self.val_split, *drawn, *self._content(VALIDATION)])

    def _content(self, split: str) -> list[Any]:
        originals = self.builder.metadata.get("originals", {"files": {}, "images": {}})
        seen: list[Any] = [split]
        for name in self.split_names(split):
            seen.append(self.builder.metadata["statistics"][name])
            for source in self.sources(name):
                seen += [source["sha256"], *map(originals["files"].get, source["instances"])]
            for record in originals["images"].get(name, ()):
                seen += [record["names"], record["sizes"]]
        return seen

    def split_names(self, split: str) -> list[str]:
        """The builder's splits that something is taken from."""
        if split == VALIDATION and self.val_split:
            split = self.val_split
        return split_names(split if splits.share(split) is None else self.train_split)

    def sources(self, split: str) -> list[dict[str, Any]]:
        """The annotation files that the splits in the expression `split` were built from.

        Each as `files.Source` has it, by field; none for a data set that is rendered.
        """
        sources = self.builder.metadata.get("sources", {})
        return [source for name in self.split_names(split) for source in sources.get(name, ())]

    def ground_truth(self, split: str) -> list[dict[str, Any]]:
        """The split's PPDM entries as evaluation reads them, boxes untouched.

        Entry k is that of the batches' `image_id` k. Entries whose image could not be read
        follow at the end, so that their pairs count as missed.
        """
        index = self.index(split)

        def parse(position: tf.Tensor) -> tf.Tensor:
            return records.parse(self.builder, index.read(position))["annotation"]

        texts = tf.data.Dataset.range(len(index)).map(parse, tf.data.AUTOTUNE)
        with records.reading(self.builder):
            entries = [json.loads(bytes(text)) for text in texts.as_numpy_iterator()]
        lost = self.builder.metadata.get("lost", {})
        if split == VALIDATION and self.val_split:
            split = self.val_split
        for name in split_names(split):
            if split == name or name in split.split("+"):
                entries += lost.get(name, [])
        return [annotations.evaluation_entry(entry) for entry in entries]

    def vcoco_annotations(
        self, split: str, truth: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]] | None:
        """V-COCO's own annotations and COCO's instances for the images of `ground_truth`.

        None where the split was not built from them.

        Raises:
            UserError: a file is not there any more, or can't be read.
        """
        official = [source for source in self.sources(split) if source["instances"]]
        files = [io.read_json(source["annotations"]) for source in official]
        if not files or not all(map(vsrl.is_vsrl, files)):
            return None
        actions = vsrl.select(files, {entry["img_id"] for entry in truth})
        paths = dict.fromkeys(path for source in official for path in source["instances"])
        return actions, vsrl.read_instances(list(paths))

    def example_images(self, split: str, count: int) -> Iterator[tuple[str, np.ndarray]]:
        """File names and RGB uint8 images [h, w, 3] of examples evenly spaced over a split."""
        index = self.index(split)
        positions = np.linspace(0, len(index) - 1, min(count, len(index))).round().astype(int)
        return records.read_images(self.builder, index, positions.tolist())


def _hash(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def builder_class(name: str) -> type[HoiBuilder]:
    """The builder of `config.data.name`; a UserError for an unknown one."""
    if name not in BUILDERS:
        raise UserError(f"no data set {name!r}; config.data.name is one of {', '.join(BUILDERS)}")
    module, kind = BUILDERS[name]
    return getattr(importlib.import_module(module), kind)


def load_dataset(config: Any, *, training: bool = True) -> Dataset:
    """Find the data set that `config.data` describes, building it if need be.

    It is built where it isn't there, is damaged, or its files have changed since.

    Args:
        config: `config.data`.
        training: False does without the training split, for people who only have the other one;
            what is counted in it is then counted in the evaluation split.

    Its `eval_split` is '' where `config.eval_split` is, or where it is "test" and the files of the
    data set have no such split: training needs none.

    Raises:
        UserError: an unknown name, or it has to be built and can't be.
    """
    _hide_accelerators()
    builder = open_builder(builder_class(config.name), config)
    there = builder.info.splits.keys()
    train_split, val_split = config.train_split, splits.validation_split(config)
    eval_split = "" if _nothing_to_evaluate(config, there) else config.eval_split
    if not training and not there >= set(split_names(train_split)):
        train_split = eval_split
        if eval_split != VALIDATION and not there >= set(split_names(val_split)):
            val_split = ""
    vocabulary = Vocabulary.from_dict(builder.metadata["vocabulary"])
    unseen = None
    if split := config.get("zero_shot", ""):  # younger than version 0.2
        unseen = zero_shot.unseen_pairs(split, vocabulary)
    seed = config.get("val_seed", 0)
    dataset = Dataset(builder, vocabulary, train_split, eval_split, unseen, val_split, seed)
    if train_split:
        records.index_split(builder, train_split)
    try:
        if val_split:
            dataset.index(VALIDATION)
    except records.DamagedError:
        raise
    except UserError as error:
        raise UserError(f"config.data.val_split={val_split!r}: {error}; {splits.HOW}") from error
    if eval_split:
        dataset.index(eval_split)
    return dataset


def _nothing_to_evaluate(config: Any, splits_there: Collection[str]) -> bool:
    """Whether nobody gave data to evaluate on: not where a split's name is mistyped."""
    asked = config.eval_split
    left_out = asked == "test" and "test" not in splits_there
    return not asked or (left_out and not config.eval_annotations)


def _hide_accelerators() -> None:
    """Leave every accelerator to JAX; TensorFlow would otherwise take its memory."""
    if tf.config.get_visible_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")
