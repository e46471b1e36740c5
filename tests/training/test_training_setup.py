"""Configuration, and the batch's share of the devices."""

import pytest
from tiny import training_config

from configs import base, demo, hico, vcoco, vcoco_mini
from ggnet_jax import vocabularies
from ggnet_jax.config import (
    check_config,
    divisible_batch_size,
    padded_batch_size,
    resolve_config,
)
from ggnet_jax.errors import UserError
from ggnet_jax.training.parallel import create_parallel
from ggnet_jax.vocabularies import Vocabulary

VOCABULARY = Vocabulary(
    name="toy",
    objects=("person", "cup"),
    object_ids=(1, 47),
    verbs=("hold", "fill", "drop"),
    verb_ids=(1, 2, 3),
    classes=((0, 1), (1, 1)),
)


@pytest.mark.parametrize(
    ("batch", "devices", "rounded"),
    [
        (23, 8, 24),
        (7, 8, 8),
        (7, 1, 7),
        (23, 4, 24),
        (9, 8, 8),
        (12, 8, 16),
        (1, 4, 4),
        (17, 4, 16),
    ],
)
def test_rounded_batches(batch, devices, rounded):
    assert divisible_batch_size(batch, devices, round_batch=True) == rounded


@pytest.mark.parametrize(
    ("batch", "devices", "message"),
    [(23, 8, "use 16 or 24"), (7, 8, "use 8"), (5, 2, "use 4 or 6"), (0, 1, "at least 1")],
)
def test_refused_batches(batch, devices, message):
    with pytest.raises(UserError, match=message):
        divisible_batch_size(batch, devices)


def test_padded_batches_are_rounded_up():
    assert [padded_batch_size(n, 4) for n in (1, 4, 5)] == [4, 4, 8]


def test_the_vocabulary_gives_the_numbers_of_classes():
    config = base.get_config()
    resolved = resolve_config(config, VOCABULARY)
    assert (resolved.model.num_verbs, resolved.model.num_objects) == (3, 2)
    assert config.model.num_verbs == 0
    assert resolve_config(resolved, VOCABULARY) == resolved
    config.model.num_verbs = 4
    with pytest.raises(UserError, match=r"num_verbs is 4, but the vocabulary 'toy' has 3"):
        resolve_config(config, VOCABULARY)


def test_the_rate_is_scaled_by_the_rounding_only_if_asked():
    config = hico.get_config().lock()
    vocabulary = vocabularies.load("hico_det")
    plain = resolve_config(config, vocabulary, num_devices=8)
    assert (plain.batch_size, plain.learning_rate) == (24, 1.5e-4)
    config.scale_learning_rate = True
    scaled = resolve_config(config, vocabulary, num_devices=8)
    assert scaled.learning_rate == pytest.approx(1.5e-4 * 24 / 23)
    assert resolve_config(scaled, vocabulary, num_devices=8) == scaled


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_epochs", 0), ("log_every_steps", 0), ("checkpoint_every_steps", -1),
        ("keep_checkpoints", 0), ("learning_rate", -1.0), ("loss__interaction", "hinge"),
        ("seed", -1), ("eval__batch_size", 0), ("eval__protocol", "coco"), ("data__max_boxes", 0),
    ],
)  # fmt: skip
def test_impossible_values_are_named(field, value):
    with pytest.raises(UserError, match=field.replace("__", ".")):
        check_config(training_config(**{field: value}))


def test_unknown_way_over_devices():
    with pytest.raises(UserError, match="'jit' or 'pmap'"):
        create_parallel("pjit")


def test_paper_settings():
    """Section 4, and Hourglass-104."""
    for module, batch, rate in ((hico, 23, 1.5e-4), (vcoco, 7, 1.5e-5)):
        config = module.get_config()
        assert (config.batch_size, config.learning_rate) == (batch, rate)
        assert (config.num_epochs, config.lr_drop_epochs, config.lr_drop) == (120, (90,), 0.1)
        assert config.data.image_size == (512, 512)
        assert config.model.widths == (256, 256, 384, 384, 384, 512)
        assert config.model.blocks == (2, 2, 2, 2, 2, 4)
        assert (config.model.stem_width, config.model.stacks) == (128, 2)
        assert (config.loss.lambda_1, config.loss.lambda_2) == (0.1, 0.1)
        assert config.glance_lr_multiplier == 1.0


@pytest.mark.parametrize("module", [base, demo, hico, vcoco, vcoco_mini])
def test_configs_open_with_their_lab_note(module):
    for heading in ("Command:", "Hardware:", "Result:"):
        assert heading in module.__doc__
    fields = base.get_config()
    for name, value in module.get_config().items():
        assert type(value) is type(fields[name]), name
