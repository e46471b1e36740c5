"""What `config.init_from` may name, what is printed of it, and what is refused in one line."""

import json
import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import reference_weights as reference
import tiny
import torch_files
from flax import traverse_util
from tiny import VOCABULARY
from torch_checkpoints import DETECTOR_LACKS, shapes_of

from ggnet_jax import vocabularies
from ggnet_jax.config import ModelConfig
from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import best, checkpoints
from ggnet_jax.torch_import import pretrained, read_state_dict
from ggnet_jax.training.initial import initial_weights, note_on_validation
from ggnet_jax.vocabularies import Vocabulary

CLASSES = Vocabulary(
    name="own",
    objects=("person", "kite", "Bicycle", "drone"),
    object_ids=(1, 2, 3, 4),
    verbs=("fly", "repair", "ride"),
    verb_ids=(1, 2, 3),
    classes=((0, 1), (2, 2)),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the tiny network with two checkpoints."""
    return tiny.make_run(tmp_path_factory.mktemp("runs") / "before", steps=(3, 7))


def configuration(init_from, vocabulary=CLASSES, **changes):
    config = tiny.training_config(init_from=str(init_from), **changes)
    config.model.update(num_verbs=vocabulary.num_verbs, num_objects=vocabulary.num_objects)
    return config


def weights(init_from, *, vocabulary=CLASSES, workdir="new", start=None, **changes) -> Any:
    config = configuration(init_from, vocabulary, **changes)
    found = initial_weights(config, vocabulary, workdir, start)
    return found and traverse_util.flatten_dict(found, sep="/")


HEATMAP = "params/heads0/objects/object_heatmap/out/bias"
STEM = "params/backbone/stem_conv/conv/kernel"


def test_a_run_with_other_classes(run, capsys):
    found = weights(run)
    printed = capsys.readouterr().out
    theirs, step = checkpoints.load_variables(run)
    theirs: Any = traverse_util.flatten_dict(theirs, sep="/")
    assert step == 7 and f"starting from {run}, step 7: Hourglass, 2 gaze steps, " in printed
    np.testing.assert_array_equal(found[STEM], theirs[STEM])
    np.testing.assert_array_equal(found[HEATMAP][[0, 1, 2]], theirs[HEATMAP][[0, 2, 1]])
    assert np.ma.getmaskarray(found[HEATMAP]).tolist() == [False, False, False, True]
    assert "objects that start fresh: drone\nverbs that start fresh: repair\n" in printed


@pytest.mark.parametrize("place", ["checkpoints/3", "checkpoints/3/", "checkpoints", "."])
def test_a_checkpoint_of_a_run(run, place):
    step = 3 if "3" in place else 7
    expected, _ = checkpoints.load_variables(run, step)
    found = weights(f"{run}/{place}")
    np.testing.assert_array_equal(
        found[STEM], expected["params"]["backbone"]["stem_conv"]["conv"]["kernel"]
    )


def test_the_best_checkpoint_of_a_run_that_chose_one(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "chosen")
    record = {
        "metric": "mAP/default/full", "split": "val", "images": 2, "data": "0", "step": 3,
        "value": 5.0, "evaluations": [[3, 5.0], [7, 4.0]],
    }  # fmt: skip
    best.write(tmp_path / "chosen", record)
    expected, _ = checkpoints.load_variables(run, 3)
    found = weights(tmp_path / "chosen")
    np.testing.assert_array_equal(
        found[STEM], expected["params"]["backbone"]["stem_conv"]["conv"]["kernel"]
    )
    assert ", the best, step 3: Hourglass" in capsys.readouterr().out


def refusal(init_from, **options):
    with pytest.raises(UserError) as caught:
        weights(init_from, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


def test_what_is_no_run_is_refused_in_a_line(run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "a folder without a run (config.json is missing)" in refusal(tmp_path / "empty")
    assert "no file" in refusal(tmp_path / "gone")
    (tmp_path / "nothing.pth").touch()
    assert "an empty file" in refusal(tmp_path / "nothing.pth")
    (tmp_path / "text.pth").write_text("hello")
    assert "a text file" in refusal(tmp_path / "text.pth")
    assert "no checkpoint of step 5; it has 3, 7" in refusal(run / "checkpoints" / "5")

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "config.json").rename(copy / "configuration.json")
    assert "a folder without a run (config.json is missing)" in refusal(copy)
    assert "a folder without a run" in refusal(copy / "checkpoints" / "7")
    assert weights(copy, start=1) is None
    assert "cannot read" in refusal(tmp_path / ("long" * 65))
    (copy / "configuration.json").rename(copy / "config.json")
    (copy / "vocabulary.json").write_text(json.dumps({"objects": ["person"]}))
    assert "not a vocabulary" in (said := refusal(copy)) and str(copy) in said
    (copy / "vocabulary.json").unlink()
    assert "vocabulary.json" in refusal(copy)
    wrong = VOCABULARY.to_dict() | {"verbs": ["ride"], "verb_ids": [1], "classes": [[0, 1]]}
    (copy / "vocabulary.json").write_text(json.dumps(wrong))
    assert "not of the network and classes in config.json" in refusal(copy)
    shutil.rmtree(copy / "checkpoints")
    shutil.copy(run / "vocabulary.json", copy)
    assert "holds no checkpoint" in refusal(copy)


def test_a_damaged_checkpoint_is_refused(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    place = tmp_path / "copy" / "checkpoints" / "7"
    largest = max(place.rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-9])
    assert str(place) in refusal(tmp_path / "copy")
    assert weights(tmp_path / "copy" / "checkpoints" / "3")


@pytest.mark.parametrize("place", ["", "checkpoints/7", "../before"])
def test_the_workdir_itself_is_refused(run, place):
    """Also where the run would go on, and the field would not be read."""
    for start in (None, 7):
        said = refusal(run / place, workdir=run, start=start)
        assert "is the workdir itself" in said and "--workdir" in said


def test_a_run_that_goes_on_reads_nothing(tmp_path, capsys):
    assert weights(tmp_path / "gone", start=3) is None
    assert "is not read again: the run goes on from its step 3" in capsys.readouterr().out
    assert weights("", start=None) is None


def test_nothing_that_fits_is_refused(run):
    said = refusal(run, model__backbone="dla34", model__head_width=4)
    assert said.startswith("nothing of ") and "hourglass there, dla34 here" in said


def test_frozen_but_fresh_is_said(run, tmp_path, capsys):
    weights(run, freeze="backbone")
    assert "note" not in capsys.readouterr().out
    weights(run, freeze="backbone, interactions")
    assert "fresh in glance, gaze 1, gaze 2" in capsys.readouterr().out
    weights("", freeze="backbone")
    assert "initial, random values" in capsys.readouterr().out


def detector(path, *, num_objects, drop=DETECTOR_LACKS, num_verbs=4, **changes):
    config = tiny.model_config(num_objects=num_objects, num_verbs=num_verbs, **changes)
    arrays = reference.state_dict(shapes_of(config))
    arrays = {name: a for name, a in arrays.items() if name.split(".")[0] not in drop}
    torch_files.save(path, {"state_dict": arrays})
    return arrays


def test_coco_detector_for_own_classes(tmp_path, capsys):
    """The paper's start, for somebody's own list: COCO's order is known."""
    arrays = detector(tmp_path / "coco.pth", num_objects=80)
    found = weights(tmp_path / "coco.pth")
    coco = vocabularies.load("hico_det").objects
    channels = [coco.index(name) for name in ("person", "kite", "bicycle")]
    np.testing.assert_array_equal(found[HEATMAP][:3], arrays["hm.0.1.bias"][channels])
    kernel = found["params/heads0/objects/object_heatmap/out/kernel"]
    np.testing.assert_array_equal(kernel[0, 0, :, :3].T, arrays["hm.0.1.weight"][channels, :, 0, 0])
    np.testing.assert_array_equal(
        found[STEM], arrays["pre.0.conv.weight"][:, ::-1].transpose(2, 3, 1, 0)
    )
    printed = capsys.readouterr().out
    assert "its 80 objects are taken to be COCO's" in printed
    assert "glance               2  all fresh (none there)" in printed


def test_coco_detector_for_coco_objects_is_taken_as_ever(tmp_path):
    """HICO-DET's and V-COCO's objects are COCO's in the same order: bit for bit `pretrained`."""
    detector(tmp_path / "coco.pth", num_objects=80)
    for name in ("hico_det", "v_coco"):
        vocabulary = vocabularies.load(name)
        config = configuration("", vocabulary)
        expected, _ = pretrained(read_state_dict(tmp_path / "coco.pth"), config.model)
        expected = traverse_util.flatten_dict(expected, sep="/")
        found = weights(tmp_path / "coco.pth", vocabulary=vocabulary)
        assert found.keys() == expected.keys()
        for path, leaf in expected.items():
            if isinstance(leaf, np.ndarray):
                assert type(found[path]) is np.ndarray
                np.testing.assert_array_equal(found[path], leaf)
            else:
                assert found[path] == leaf


def test_released_hoi_network_for_own_classes(tmp_path, capsys):
    """V-COCO's verbs are known by their number, and one gaze step is the first of two."""
    arrays = detector(tmp_path / "v.pth", num_objects=80, num_verbs=25, drop=(), gaze_steps=1)
    verbs = vocabularies.load("v_coco").verbs
    own = Vocabulary("own", ("person", "kite"), (1, 2), (verbs[4], "fly"), (1, 2), ((1, 1),))
    found = weights(tmp_path / "v.pth", vocabulary=own)
    bias = found["params/heads0/interactions/glance_classifier/bias"]
    assert bias[0] == arrays["hm_rel.0.1.bias"][4] and bias.mask.tolist() == [False, True]
    feature = found["params/heads0/interactions/gaze1_feature/bias"]
    np.testing.assert_array_equal(feature, arrays["hm_dcn.0.conv.bias"])
    assert "its 25 verbs are taken to be V-COCO's" in capsys.readouterr().out


def test_other_detectors(tmp_path, capsys):
    """Classes of unknown names: taken if there are as many, else not at all."""
    arrays = detector(tmp_path / "four.pth", num_objects=4)
    found = weights(tmp_path / "four.pth")
    np.testing.assert_array_equal(found[HEATMAP], arrays["hm.0.1.bias"])
    assert "taken to be ours, in our order" in capsys.readouterr().out
    detector(tmp_path / "six.pth", num_objects=6)
    assert weights(tmp_path / "six.pth")[HEATMAP].mask.all()
    assert "6 objects there of unknown names, 4 here" in capsys.readouterr().out
    assert "--config.model.backbone=hourglass" in refusal(
        tmp_path / "six.pth", model__backbone="dla34"
    )
    assert ModelConfig.from_fields(configuration("").model).num_objects == 4


def test_images_that_the_other_run_trained_on_are_no_fair_validation(run, tmp_path):
    """Said where some may be, and only there."""
    shutil.copytree(run, tmp_path / "before")
    record = json.loads((tmp_path / "before" / "config.json").read_text())
    data = {"name": "json", "train_images": "/photos", "train_annotations": "/a.json"}
    data |= {"train_split": "train", "val_seed": 0, "val_annotations": ""}

    def note(theirs, *, held_out=2, init_from="before", **ours):
        record["data"] |= {**data, "val_split": "0.2", **theirs}
        (tmp_path / "before" / "config.json").write_text(json.dumps(record))
        config = configuration(init_from and tmp_path / init_from)
        config.data.update({**data, "val_split": "0.2", **ours})
        dataset: Any = SimpleNamespace(val_split=config.data.val_split, num_held_out=held_out)
        return note_on_validation(config, dataset)

    for theirs in ({"val_split": ""}, {"val_split": "0.1"}, {"val_seed": 1},
                   {"train_annotations": "/b.json"}, {"train_split": "train[:50]"}):  # fmt: skip
        [line] = note(theirs)
        assert str(tmp_path / "before") in line and "figures are then too good" in line
        record["data"] = json.loads((run / "config.json").read_text())["data"]
    assert note({"val_split": "0.1"}, init_from="before/checkpoints/3")
    assert note({}, val_split="") == note({}) == []  # the same images are held out
    assert note({"train_images": "/others"}) == note({"name": "v_coco"}) == []
    record["data"] = json.loads((run / "config.json").read_text())["data"]
    assert note({"val_split": ""}, held_out=0) == []  # files of its own
    assert note({"val_split": ""}, init_from="") == note({}, init_from="missing") == []
