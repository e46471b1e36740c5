"""A batch that is worked through in parts gives the gradient of the whole batch."""

import json

import jax
import numpy as np
import pytest
from subprocesses import run_python
from tiny import training_config

from ggnet_jax.config import check_config, divisible_batch_size, resolve_config
from ggnet_jax.errors import UserError
from ggnet_jax.training import losses
from ggnet_jax.training.step import _split
from ggnet_jax.training.targets import Targets
from ggnet_jax.vocabularies import Vocabulary


@pytest.fixture(scope="module")
def report():
    """What tests/accumulation_check.py found; float64 and plain SGD."""
    done = run_python("tests/accumulation_check.py", devices=4)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["relations"] == [4, 9] and np.isfinite(report["loss"])
    return report


@pytest.mark.parametrize("way", ["mesh", "pmap"])
def test_parts_make_the_update_of_the_whole_batch(report, way):
    """With batch norms that do not see the batch; N and the L1's counts are the whole batch's.

    Each device has its share of every part: no image moves.
    """
    assert all(off < 1e-9 for off in report[way].values()), report[way]
    exchanges = report[f"{way} exchanges"]
    assert set(exchanges) <= {"all-reduce", "all-reduce in a loop"}, exchanges
    assert sum(exchanges.values()) < 2 * report["parameters"]


def test_parts_one_after_the_other_without_a_loop(report):
    """As on a CPU, where XLA's loops are slow."""
    assert all(off < 1e-9 for off in report["without a loop"].values()), report["without a loop"]


def test_running_statistics_move_once_a_part(report):
    """As if the network had seen one part after the other, all with the weights before."""
    assert report["statistics"] < 1e-9


def test_a_part_takes_every_nth_image():
    """Each image once; a contiguous shard gives every part the same number of images."""
    parts = np.asarray(_split(np.arange(12).reshape(12, 1), 3))
    assert parts[..., 0].tolist() == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    shards = [set(range(0, 6)), set(range(6, 12))]
    assert all(len(shard & set(part)) == 2 for shard in shards for part in parts[..., 0].tolist())


def test_losses_of_parts_add_up():
    """Every count is used: with those of the whole batch the parts' terms are the whole's."""
    rng = np.random.default_rng(0)
    mask = rng.choice(np.array([0, 0.4, 1, -1], np.float32), (4, 3, 3, 2))
    valid = rng.random((4, 5)) < 0.6
    logits = rng.normal(size=mask.shape).astype(np.float32)
    points = rng.normal(size=(2, 4, 5, 2)).astype(np.float32)
    zeros = np.zeros((4, 5), np.int32)
    targets = Targets(
        np.abs(mask), mask, -mask, zeros, points[0], points[0], valid, zeros, zeros,
        points[0], points[0], ~valid,
    )  # fmt: skip
    weight = np.array([1, 1, 0, 1], np.float32)
    counts = losses.loss_counts(targets, example_weight=weight)
    real = weight > 0
    assert counts.objects == (np.abs(mask) == 1)[real].sum()
    assert counts.glance == (mask == 1)[real].sum() and counts.gaze == (mask == -1)[real].sum()
    assert counts.boxes == 2 * valid[real].sum() and counts.relations == 2 * (~valid)[real].sum()

    def hna(images, count):
        return losses.hna_loss(
            logits[images], mask[images], example_weight=weight[images], count=count
        )

    def l1(images, count):
        return losses.masked_l1(
            *points[:, images], valid[images], example_weight=weight[images], count=count
        )

    parts = (slice(0, 1), slice(1, 4))
    for loss, count in ((hna, counts.glance), (l1, counts.boxes)):
        whole = loss(slice(None), None)
        assert sum(loss(part, count) for part in parts) == pytest.approx(float(whole), rel=1e-5)
        assert sum(loss(part, None) for part in parts) != pytest.approx(float(whole), rel=1e-2)


@pytest.mark.parametrize(
    ("batch", "devices", "parts", "said"),
    [
        (24, 1, 5, "24 is not divisible by 5 parts (config.accumulate_steps); use 20 or 25"),
        (24, 8, 2, "24 is not divisible by 8 devices x 2 parts (config.accumulate_steps); use 16"),
        (4, 1, 8, "4 is not divisible by 8 parts (config.accumulate_steps); use 8, or"),
        (6, 4, 1, "6 is not divisible by 4 devices; use 4 or 8"),
    ],
)
def test_a_batch_that_has_no_equal_parts_is_refused(batch, devices, parts, said):
    config = training_config(batch_size=batch, accumulate_steps=parts)
    with pytest.raises(UserError) as error:
        check_config(config, num_devices=devices)
    assert f"config.batch_size={said}" in str(error.value)


def test_rounding_goes_to_whole_parts():
    assert divisible_batch_size(23, 4, round_batch=True, parts=2) == 24
    vocabulary = Vocabulary(
        name="toy",
        objects=("person",),
        object_ids=(1,),
        verbs=("hug",),
        verb_ids=(1,),
        classes=((0, 0),),
    )
    config = training_config(
        batch_size=9, accumulate_steps=4, round_batch=True, model__num_verbs=0, model__num_objects=0
    )
    assert resolve_config(config, vocabulary, num_devices=1).batch_size == 8


@pytest.mark.parametrize("parts", [0, -1])
def test_no_parts_are_refused(parts):
    with pytest.raises(UserError, match=f"config.accumulate_steps is {parts}; it must be at le"):
        check_config(training_config(accumulate_steps=parts), num_devices=jax.device_count())
