"""From the configuration a person wrote to the one a run uses."""

from typing import Any

from ggnet_jax.errors import UserError
from ggnet_jax.training.parallel import batch_size_for_devices, shareable
from ggnet_jax.vocabularies import Vocabulary


def resolve_config(config: Any, vocabulary: Vocabulary, *, num_devices: int | None = None) -> Any:
    """Fill in what the vocabulary and the devices decide.

    Args:
      config: a ConfigDict; left as it is.
      vocabulary: gives `model.num_verbs` and `model.num_objects`.
      num_devices: of all processes together; None leaves the batch size alone.

    Returns:
      A copy with the numbers of classes, the rounded batch sizes, and the learning rate scaled by
      the rounding if `scale_learning_rate` asks for it. Resolving it again changes nothing.

    Raises:
      UserError: see `check_config`; or a number of classes was given and is not the vocabulary's.
    """
    check_config(config, num_devices=num_devices)
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
            config.batch_size = batch_size_for_devices(
                asked, num_devices, round_batch=config.round_batch
            )
            if config.scale_learning_rate:
                config.learning_rate *= config.batch_size / asked
            config.eval.batch_size = shareable(config.eval.batch_size, num_devices)
    return config


def check_config(config: Any, *, num_devices: int | None = None) -> None:
    """Raise a UserError for what is wrong whatever the data.

    Args:
      config: a ConfigDict.
      num_devices: also see whether they can share out the batch.
    """
    if num_devices is not None:
        batch_size_for_devices(config.batch_size, num_devices, round_batch=config.round_batch)
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
        "data.max_boxes": 1,
        "data.max_relations": 1,
        "eval.batch_size": 1,
        "eval.top_k": 1,
    }
    one_of = {
        "loss.interaction": ("hna", "focal"),
        "eval.protocol": ("hico", "hico_ppdm", "vcoco"),
    }
    for name, least in at_least.items():
        value = _field(config, name)
        if value < least:
            raise UserError(f"config.{name} is {value}; it must be at least {least}")
    for name, values in one_of.items():
        value = _field(config, name)
        if value not in values:
            listed = " or ".join(map(repr, values))
            raise UserError(f"config.{name} is {value!r}; it can be {listed}")


def _field(config: Any, name: str) -> Any:
    """The value under a dotted name."""
    for part in name.split("."):
        config = config[part]
    return config
