"""The configuration: the network's (`ModelConfig`), and the checks and resolving of a whole run's.

No JAX here: everything may import this module.
"""

import dataclasses
import difflib
import itertools
import math
import numbers
import os
from collections.abc import Iterator, Mapping
from typing import Any

from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary, zero_shot

OUTPUT_STRIDE = 4
"""Input pixels a cell of the output map, d of the paper's section 3.2; both backbones have it."""

RETIRED_MODEL_FIELDS = frozenset({"deform_conv"})
"""Fields of `config.model` that the config.json of older runs has and that mean nothing any more.

`deform_conv`: how deformable convolutions gather their corners; the operator chooses by backend.
"""

MODULES = ("backbone", "objects", "interactions", "matching")
"""The network's parts as `config.freeze` names them: the backbone, and the heads of all stacks."""

_PATH_LISTS = tuple(
    f"data.{split}_{what}"
    for split in ("train", "val", "eval")
    for what in ("annotations", "images", "instances")
)
_PATHS = (*_PATH_LISTS, "data.data_dir", "data.vocabulary", "eval.detections", "init_from")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network: every field of `config.model` with its default, the paper's (sections 3 and 4).

    It is checked once, when it is made, and handed whole to `GGNet` and on to every module.

    Raises:
        UserError: no network can be built with a value; names the field, the value and what it can
            be.
    """

    backbone: str = "hourglass"  # or 'dla34'
    # The hourglass's alone: DLA-34 has one size and one stack.
    stem_width: int = 128  # channels after the 7x7 convolution
    widths: tuple[int, ...] = (256, 256, 384, 384, 384, 512)  # channels a level, full size first
    blocks: tuple[int, ...] = (2, 2, 2, 2, 2, 4)  # residual blocks a level
    stacks: int = 2
    # Heads.
    head_width: int = 256  # channels of F0, F1, ..., G1, ... and of the other heads' hidden layers
    num_verbs: int = 0  # both numbers come from the vocabulary; 0 until it is known
    num_objects: int = 0
    gaze_steps: int = 2
    act_points: int = 25  # K of eq. (1), the square of an odd number
    per_verb_offsets: bool = True  # action-aware point matching (APM); False: one pair for all
    share_gaze_features: bool = False  # one F(t) for all gaze steps (Table 2)
    # Table 3's alternatives to glance and gaze: 'human', 'object', 'both' or 'act_points'.
    aggregation: str = "none"
    # Computation.
    dtype: str = "float32"  # of the convolutions; 'bfloat16' for accelerators, CPUs with AMX
    remat: bool = False  # recompute the backbone's activations in the backward pass: less memory
    # Not a field of `config.model`: `create_model` sets it where the step runs under `pmap`. Name
    # of the axis over which batch norm averages its statistics.
    axis_name: str | None = None

    def __post_init__(self) -> None:
        for name in ("widths", "blocks"):  # hashable, also where JSON had a list
            object.__setattr__(self, name, tuple(getattr(self, name)))
        one_of = {
            "backbone": ("hourglass", "dla34"),
            "gaze_steps": (0, 1, 2, 3),
            "per_verb_offsets": (True, False),
            "share_gaze_features": (True, False),
            "aggregation": ("none", "human", "object", "both", "act_points"),
            "dtype": ("float32", "bfloat16", "float64"),
            "remat": (True, False),
        }
        for name, values in one_of.items():
            _check_one_of(f"model.{name}", getattr(self, name), values)
        at_least = {"stem_width": 1, "stacks": 1, "head_width": 1, "num_verbs": 0, "num_objects": 0}
        for name, least in at_least.items():
            _check_whole(f"model.{name}", getattr(self, name), least)
        _check_whole("model.act_points", self.act_points, 1)
        side = math.isqrt(self.act_points)
        if side * side != self.act_points or side % 2 == 0:
            raise UserError(
                f"config.model.act_points is {self.act_points}; "
                "it must be the square of an odd number (9, 25, 49)"
            )
        if len(self.widths) != len(self.blocks) or len(self.widths) < 2:
            raise UserError(
                f"config.model.widths is {self.widths} and config.model.blocks {self.blocks}; "
                "they must be of equal length, at least 2"
            )
        for name in ("widths", "blocks"):
            for level, value in enumerate(getattr(self, name)):
                _check_whole(f"model.{name}[{level}]", value, 1)
        if self.aggregation != "none" and (self.gaze_steps or self.per_verb_offsets):
            raise UserError(
                f"config.model.aggregation is {self.aggregation!r}, which is for the baseline: it "
                "needs config.model.gaze_steps=0 and config.model.per_verb_offsets=False, not "
                f"{self.gaze_steps} and {self.per_verb_offsets}"
            )

    @classmethod
    def from_fields(cls, fields: Any) -> "ModelConfig":
        """Read `config.model`.

        Args:
            fields: a ConfigDict, a mapping, a `ModelConfig`, or any object with these attributes.
                A field that is missing, as one younger than the run may be, has its default; the
                `RETIRED_MODEL_FIELDS` are dropped.

        Raises:
            UserError: see the class; or a field is unknown.
        """
        if isinstance(fields, cls):
            return fields
        known = cls().to_fields()
        if hasattr(fields, "items"):
            given = without_retired_fields(dict(fields.items()))
        else:
            given = {name: getattr(fields, name) for name in known if hasattr(fields, name)}
        if unknown := given.keys() - known:
            raise UserError(
                f"config.model has no field {min(unknown)!r}; it has {', '.join(sorted(known))}"
            )
        return cls(**given)

    @property
    def input_divisor(self) -> int:
        """What height and width of the network's input must be divisible by."""
        if self.backbone == "dla34":
            return 32
        return OUTPUT_STRIDE * 2 ** (len(self.widths) - 1)

    def to_fields(self) -> dict[str, Any]:
        """The fields of `config.model`."""
        fields = dataclasses.asdict(self)
        del fields["axis_name"]
        return fields


def without_retired_fields(model: Mapping[str, Any]) -> dict[str, Any]:
    """`config.model` of an older run without its `RETIRED_MODEL_FIELDS`."""
    return {name: value for name, value in model.items() if name not in RETIRED_MODEL_FIELDS}


def check_fields(config: Mapping[str, Any], base: Mapping[str, Any], prefix: str = "") -> None:
    """Raise a UserError unless a configuration has the fields of `base`, and values of their kinds.

    Args:
        config: nested dictionaries, as a configuration file made them.
        base: those of `configs/base.py`.
        prefix: of the names, for messages: "data." inside of `config.data`.
    """
    for name in config:
        if name not in base:
            near = nearest_field(name, base)
            hint = f"; did you mean config.{prefix}{near}?" if near else ""
            raise UserError(f"the configuration has no field config.{prefix}{name}{hint}")
    for name, example in base.items():
        if name not in config:
            raise UserError(
                f"the configuration lacks config.{prefix}{name}; let get_config() start from "
                "configs.base.get_config(), which has every field"
            )
        value = config[name]
        if isinstance(example, Mapping):
            if not isinstance(value, Mapping):
                raise UserError(f"config.{prefix}{name} is {value!r}; it must be a ConfigDict")
            check_fields(value, example, f"{prefix}{name}.")
        elif not _is_like(value, example):
            raise UserError(f"config.{prefix}{name} is {value!r}; give a value like {example!r}")


def nearest_field(name: str, fields: Mapping[str, Any]) -> str | None:
    """The dotted name in nested dictionaries that is most like `name`; None if none is."""
    names = list(_dotted_names(fields))
    found = difflib.get_close_matches(name, names, 1, 0.75)
    if not found:  # a field of another branch, or one whose branch was left out
        last = {known.rpartition(".")[2]: known for known in names}
        found = [last[n] for n in difflib.get_close_matches(name.rpartition(".")[2], last, 1, 0.75)]
    return found[0] if found else None


def with_fields_of(base: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run with exactly the fields of `base`.

    A field that the run lacks is younger than the run and has the value of `base`; one that `base`
    lacks is retired and left out.
    """
    return {
        name: with_fields_of(value, config.get(name, {}))
        if isinstance(value, Mapping)
        else config.get(name, value)
        for name, value in base.items()
    }


def check_config(config: Any, *, num_devices: int | None = None) -> None:
    """Raise a UserError for what is wrong whatever the data.

    Args:
        config: a ConfigDict.
        num_devices: also see whether the batch is divisible by them.
    """
    check_image_size(config)
    _check_at_least("accumulate_steps", config.accumulate_steps, 1)
    if num_devices is not None:
        divisible_batch_size(
            config.batch_size,
            num_devices,
            round_batch=config.round_batch,
            parts=config.accumulate_steps,
        )
    at_least = {
        "seed": 0,
        "num_epochs": 1,
        "log_every_steps": 1,
        "checkpoint_every_steps": 1,
        "keep_checkpoints": 1,
        "eval_every_epochs": 0,
        "warmup_steps": 0,
        "learning_rate": 0,
        "grad_clip": 0,
        "ema_decay": 0,
        "backbone_lr_multiplier": 0,
        "data.max_boxes": 1,
        "data.max_relations": 1,
        "eval.patience": 0,
        "data.val_seed": 0,
    }
    one_of = {
        "loss.interaction": ("hna", "focal"),
        "data.zero_shot": ("", *zero_shot.SPLITS),
        "data.zero_shot_policy": ("relation", "pair"),
    }
    check_evaluation(config)
    for name, least in at_least.items():
        _check_at_least(name, _field(config, name), least)
    if config.ema_decay >= 1:
        raise UserError(
            f"config.ema_decay is {config.ema_decay}; it must be less than 1, such as 0.999, "
            "or 0 for no average"
        )
    for name, values in one_of.items():
        _check_one_of(name, _field(config, name), values)
    frozen_modules(config.freeze)


def check_evaluation(config: Any) -> None:
    """Raise a UserError for what is wrong of `config.eval` whatever the data."""
    for field, least in {"batch_size": 1, "top_k": 1, "pictures": 0}.items():
        _check_at_least(f"eval.{field}", config.eval.get(field, least), least)  # older runs
    _check_one_of("eval.protocol", config.eval.protocol, ("hico", "hico_ppdm", "vcoco"))


def frozen_modules(freeze: str) -> tuple[str, ...]:
    """`config.freeze`, "a,b" -> those of `MODULES` that are not trained.

    Raises:
        UserError: an unknown name, or nothing is left to train.
    """
    names = dict.fromkeys(name.strip() for name in freeze.split(",") if name.strip())
    for name in names:
        if name not in MODULES:
            raise UserError(
                f"config.freeze is {freeze!r}; it can be {', '.join(MODULES)}, or several of them "
                "with commas"
            )
    if len(names) == len(MODULES):
        raise UserError(f"config.freeze is {freeze!r}, which leaves nothing to train")
    return tuple(names)


def check_image_size(config: Any) -> None:
    """Raise a UserError unless the network can work on `data.image_size`, (height, width).

    The message names the sizes nearest to it that fit.
    """
    model = ModelConfig.from_fields(config.model)
    size = tuple(config.data.image_size)
    whole = all(isinstance(side, int) and side > 0 for side in size)
    if len(size) != 2 or not whole:
        raise UserError(
            f"config.data.image_size is {size}; it must be height and width of the network's "
            "input in pixels, such as (512, 512)"
        )
    divisor = model.input_divisor
    if not any(side % divisor for side in size):
        return
    # Of each side what is nearest below and above; the pair that changes least comes first.
    around = [
        sorted({max(side // divisor * divisor, divisor), -(-side // divisor) * divisor})
        for side in size
    ]
    fitting = sorted(
        itertools.product(*around),
        key=lambda fit: sum(abs(math.log(new / old)) for new, old in zip(fit, size, strict=True)),
    )
    network = "DLA-34" if model.backbone == "dla34" else f"hourglass ({len(model.widths)} levels)"
    raise UserError(
        f"config.data.image_size is {size}, but height and width must be divisible by {divisor} "
        f"for this {network}; nearest are {' and '.join(map(str, fitting[:2]))}"
    )


def resolve_config(config: Any, vocabulary: Vocabulary, *, num_devices: int | None = None) -> Any:
    """Fill in what the vocabulary and the devices decide.

    Args:
        config: a ConfigDict that passed `check_config`; left as it is.
        vocabulary: gives `model.num_verbs` and `model.num_objects`.
        num_devices: of all processes together; None leaves the batch size alone.

    Returns:
        A copy with the numbers of classes, the rounded batch sizes, and the learning rate scaled
        by the rounding if `scale_learning_rate` asks for it. Resolving it again changes nothing.

    Raises:
        UserError: a number of classes was given and is not the vocabulary's.
    """
    config = config.copy_and_resolve_references()
    with config.unlocked():
        for field in ("num_verbs", "num_objects"):
            number = getattr(vocabulary, field)
            if config.model[field] not in (0, number):
                raise UserError(
                    f"config.model.{field} is {config.model[field]}, but the vocabulary "
                    f"{vocabulary.name!r} has {number}; leave the field at 0"
                )
            config.model[field] = number
        if num_devices is not None:
            asked = config.batch_size
            config.batch_size = divisible_batch_size(
                asked,
                num_devices,
                round_batch=config.round_batch,
                parts=config.accumulate_steps,
            )
            if config.scale_learning_rate:
                config.learning_rate *= config.batch_size / asked
            config.eval.batch_size = padded_batch_size(config.eval.batch_size, num_devices)
    return config


def split_paths(text: str) -> list[str]:
    """'a, b' -> a and b; a path with commas is one if there is such a file or folder."""
    parts = [text] if os.path.exists(text) else text.split(",")
    return [part.strip() for part in parts if part.strip()]


def absolute_paths(config: Any) -> Any:
    """A copy in which every path is absolute, so that it means the same from every folder.

    Args:
        config: a ConfigDict; paths in it are relative to the current folder. The name of a shipped
            vocabulary is none.
    """
    config = config.copy_and_resolve_references()
    with config.unlocked():
        for name in _PATHS:
            *sections, field = name.split(".")
            section = config
            for key in sections:
                section = section.get(key, {})
            text = section.get(field, "")
            if not text or (name == "data.vocabulary" and text in vocabularies.names()):
                continue
            paths = split_paths(text) if name in _PATH_LISTS else [text]
            section[field] = ",".join(os.path.abspath(os.path.expanduser(p)) for p in paths)
    return config


def divisible_batch_size(
    batch_size: int, num_devices: int, *, round_batch: bool = False, parts: int = 1
) -> int:
    """The number of images a training step, divisible by the number of devices.

    Args:
        batch_size: what the configuration asks for.
        num_devices: of all processes.
        parts: `config.accumulate_steps`; each part is divisible as well.
        round_batch: go to the nearest multiple (up if two are as near) instead of refusing.

    Raises:
        UserError: it is not divisible; the message names the nearest sizes that are.
    """
    _check_at_least("batch_size", batch_size, 1)
    divisor = num_devices * parts
    below = batch_size // divisor * divisor
    if below == batch_size:
        return batch_size
    above = below + divisor
    if round_batch:
        return above if not below or above - batch_size <= batch_size - below else below
    nearest = f"{below} or {above}" if below else f"{above}"
    by = [f"{num_devices} devices"] if num_devices > 1 else []
    by += [f"{parts} parts (config.accumulate_steps)"] if parts > 1 else []
    raise UserError(
        f"config.batch_size={batch_size} is not divisible by {' x '.join(by)}; "
        f"use {nearest}, or --config.round_batch=true"
    )


def padded_batch_size(batch_size: int, num_devices: int) -> int:
    """`batch_size` rounded up to a multiple of the devices; for batches that are padded."""
    return -(-batch_size // num_devices) * num_devices


def _dotted_names(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        yield name
        if isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in _dotted_names(value))


def _is_like(value: Any, example: Any) -> bool:
    """Whether a value is of the kind of another; of tuples, whether their items are."""
    if isinstance(example, bool) or isinstance(value, bool):
        return isinstance(example, bool) and isinstance(value, bool)
    if isinstance(example, int):
        return isinstance(value, numbers.Integral)
    if isinstance(example, float):
        return isinstance(value, numbers.Real) and math.isfinite(value)
    if isinstance(example, tuple | list):
        return isinstance(value, tuple | list) and all(_is_like(v, example[0]) for v in value)
    return isinstance(value, type(example))


def _field(config: Any, name: str) -> Any:
    """The value under a dotted name."""
    for part in name.split("."):
        config = config[part]
    return config


def _check_one_of(name: str, value: Any, values: tuple[Any, ...]) -> None:
    if value not in values:
        *others, last = map(repr, values)
        raise UserError(f"config.{name} is {value!r}; it can be {', '.join(others)} or {last}")


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise UserError(f"config.{name} is {value!r}; it must be a whole number, at least {least}")


def _check_at_least(name: str, value: Any, least: int) -> None:
    if not value >= least:  # NaN is not, either
        raise UserError(f"config.{name} is {value!r}; it must be at least {least}")
