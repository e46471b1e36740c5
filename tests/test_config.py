"""The network's configuration, what is refused, and how a run's is resolved."""

from types import SimpleNamespace

import pytest
from subprocesses import run_python
from tiny import training_config

from configs import base, hico
from ggnet_jax import vocabularies
from ggnet_jax.config import (
    ModelConfig,
    absolute_paths,
    check_config,
    divisible_batch_size,
    padded_batch_size,
    resolve_config,
)
from ggnet_jax.errors import UserError
from ggnet_jax.models import create_model
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
    ("change", "message"),
    [
        ({"backbone": "resnet"}, "backbone is 'resnet'; it can be 'hourglass' or 'dla34'"),
        ({"dtype": "float16"}, "dtype is 'float16'; it can be 'float32', 'bfloat16' or 'float64'"),
        ({"gaze_steps": 4}, "gaze_steps is 4; it can be 0, 1, 2 or 3"),
        ({"act_points": 16}, "act_points is 16; it must be the square of an odd number"),
        ({"act_points": 10}, "act_points is 10; it must be the square of an odd number"),
        ({"act_points": "9"}, "act_points is '9'; it must be a whole number, at least 1"),
        ({"widths": (8, 8, 8)}, "widths is (8, 8, 8) and config.model.blocks"),
        ({"widths": (8,), "blocks": (1,)}, "of equal length, at least 2"),
        ({"widths": (8, 8), "blocks": (1, 0)}, "blocks[1] is 0; it must be a whole number, at le"),
        ({"stacks": 0}, "stacks is 0; it must be a whole number, at least 1"),
        ({"head_width": 2.5}, "head_width is 2.5; it must be a whole number"),
        ({"num_verbs": -1}, "num_verbs is -1; it must be a whole number, at least 0"),
        ({"remat": "yes"}, "remat is 'yes'; it can be True or False"),
        ({"aggregation": "all"}, "aggregation is 'all'; it can be 'none', 'human', 'object'"),
        ({"aggregation": "both"}, "aggregation is 'both', which is for the baseline"),
        ({"depth": 3}, "no field 'depth'; it has act_points, aggregation"),
    ],
)
def test_a_network_that_cannot_be_is_named(change, message):
    """The field as it is typed, its value, and what it can be."""
    fields = ModelConfig(num_verbs=3, num_objects=4).to_fields() | change
    with pytest.raises(UserError) as error:
        create_model(fields)
    assert str(error.value).startswith("config.model") and message in str(error.value)


def test_a_network_needs_the_numbers_of_classes():
    """0 stands for a number that the vocabulary will give."""
    assert ModelConfig().num_verbs == 0
    with pytest.raises(UserError, match=r"config\.model\.num_objects is 0"):
        create_model(ModelConfig(num_verbs=3))


def test_fields_come_from_anything_that_has_them():
    """A ConfigDict, a mapping, an object; lists, as JSON has them; and old runs' fields."""
    config = ModelConfig(widths=(8, 8), blocks=(1, 1), act_points=9)
    fields = config.to_fields()
    typed = base.get_config().model
    typed.update(widths=(8, 8), blocks=(1, 1), act_points=9)
    for other in (
        config,
        fields,
        typed,
        SimpleNamespace(**fields),
        fields | {"widths": [8, 8], "blocks": [1, 1]},
        fields | {"deform_conv": "auto"},
        SimpleNamespace(widths=(8, 8), blocks=(1, 1), act_points=9, data="of no interest"),
    ):
        found = ModelConfig.from_fields(other)
        assert found == config and hash(found) == hash(config)


def test_the_base_configuration_has_the_defaults():
    assert base.get_config().model.to_dict() == ModelConfig().to_fields()
    assert ModelConfig.from_fields(base.get_config().model) == ModelConfig()


def test_configurations_are_read_without_jax():
    code = "import sys, ggnet_jax.config; sys.exit('jax' in sys.modules)"
    assert run_python("-c", code).returncode == 0


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
        ("model__act_points", 8), ("learning_rate", float("nan")), ("ema_decay", float("nan")),
        ("backbone_lr_multiplier", float("nan")),
    ],
)  # fmt: skip
def test_impossible_values_are_named(field, value):
    with pytest.raises(UserError, match=field.replace("__", ".")):
        check_config(training_config(**{field: value}))


def test_paths_become_absolute_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = base.get_config()
    config.lock()
    config.data.update(
        data_dir="prepared",
        train_annotations="a.json, ../b.json",
        train_images="/data/images",
        vocabulary="classes.json",
    )
    config.eval.detections = "~/boxes.json"
    made = absolute_paths(config)
    assert config.data.data_dir == "prepared"
    assert made.data.data_dir == f"{tmp_path}/prepared"
    assert made.data.train_annotations == f"{tmp_path}/a.json,{tmp_path.parent}/b.json"
    assert made.data.train_images == "/data/images"
    assert made.data.eval_images == made.init_from == ""
    assert made.data.vocabulary == f"{tmp_path}/classes.json"
    assert made.eval.detections.startswith("/") and made.eval.detections.endswith("/boxes.json")
    assert absolute_paths(made) == made
    config.data.vocabulary = "hico_det"
    assert absolute_paths(config).data.vocabulary == "hico_det"
    with config.unlocked():
        del config.eval["detections"]  # an older run has none
    assert "detections" not in absolute_paths(config).eval


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        ({}, (720, 1280), r"divisible by 128 .*6 levels.*\(768, 1280\) and \(640, 1280\)"),
        ({"backbone": "dla34"}, (720, 1280), r"by 32 for .*DLA-34; .*\(736, 1280\) and \(704, 12"),
        ({"widths": (8, 8), "blocks": (1, 1)}, (60, 61), r"by 8 .*\(64, 64\) and "),
        ({}, (1, 128), r"nearest are \(128, 128\)$"),
        ({}, (512,), "must be height and width of the network's input"),
        ({}, (512, 512, 3), "must be height and width"),
        ({}, (512, 0), "must be height and width"),
        ({}, (-128, 128), "must be height and width"),
    ],
)
def test_an_input_size_that_does_not_fit_names_those_that_do(model, size, message):
    config = base.get_config()
    config.model.update(model)
    config.data.image_size = size
    with pytest.raises(UserError, match=message):
        check_config(config)


def test_input_sizes_that_fit_need_not_be_square():
    config = base.get_config()
    for backbone, size in (("hourglass", (640, 1280)), ("dla34", (704, 1280)), ("dla34", (32, 96))):
        config.model.backbone, config.data.image_size = backbone, size
        check_config(config)
