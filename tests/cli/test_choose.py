"""Training with a validation split as main.py does it: what is scored, kept, drawn and said."""

import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from data_trees import own_config, write_images
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.pr_curve import metadata
from tensorboard.util import tensor_util
from tiny import make_run
from tiny_config import get_config

import data_pipelines
from ggnet_jax import Detector
from ggnet_jax.cli import command, drawings, evaluate_split, modes
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import hico, precision_recall
from ggnet_jax.run_dir import best, checkpoints
from ggnet_jax.training import initial, loop
from ggnet_jax.vocabularies import load as load_vocabulary


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Three epochs of four steps; a third of the training images is held out."""
    config = get_config()
    config.num_epochs = 3
    config.eval_every_epochs = 1
    config.keep_checkpoints = 1
    config.data.figures.update(num_train=12, num_test=4)
    config.data.val_split = "train[8:]"
    config.data.data_dir = str(tmp_path_factory.mktemp("data"))
    config.eval.best = "map"
    return config


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """A finished training, its second evaluation made the best, and what it printed."""
    workdir = tmp_path_factory.mktemp("run")
    real, steps = hico.evaluate_and_match, []

    def better(entries, *arguments, **options):
        result, match = real(entries, *arguments, **options)
        steps.append(len(steps))
        if len(steps) == 3:  # after the names were asked for, and one evaluation
            result["default"].ap[:] = 0.5
        return result, match

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(evaluate_split.hico, "evaluate_and_match", better)
        patched.setattr(drawings, "draw_run", lambda *_, **__: [])
        assert modes.train(config, workdir, data_pipelines) == 0
    assert len(steps) == 5  # names, three evaluations on the validation split, one at the end
    return workdir


def metrics(run, folder=""):
    return json.loads((run / "evaluation" / folder / "metrics.json").read_text())


def test_the_best_is_scored_on_the_test_split(run):
    assert checkpoints.steps(run) == [8, 12]
    final = metrics(run)
    assert final["split"] == "test" and final["checkpoint"] == {
        "step": 8,
        "chosen": {
            "metric": "mAP/default/full", "value": 50.0, "split": "train[8:]", "images": 4,
            "evaluations": 3,
        },
    }  # fmt: skip
    assert "best of 3 evaluated checkpoints by mAP/default/full" in final["notes"][1]
    names = [e["file_name"] for e in json.loads((run / "evaluation/predictions.json").read_text())]
    assert len(names) == 4 and all("test" in name for name in names)
    last = metrics(run, "val")
    assert last["split"] == "val" and last["checkpoint"] == {"step": 12, "chosen": None}
    shown = json.loads((run / "evaluation/val/predictions.json").read_text())
    assert [e["file_name"] for e in shown] == [f"figures_train_{k:06}.png" for k in range(8, 12)]


def test_a_step_called_best(run, config, capsys, monkeypatch):
    monkeypatch.setattr(drawings, "draw_run", lambda *_, **__: [])
    assert Detector.load(run, step="best").step == 8
    assert Detector.load(run).step == 12
    # As init_from reads it.
    assert initial._workdir_and_step(run / "checkpoints" / "best") == (run, "best")
    assert modes.evaluate(config, run, "best", data_pipelines) == 0
    assert "checkpoint of step 8, 4 images" in capsys.readouterr().out
    newest = evaluate_split.results_folder(config, run, None)
    assert newest.name == "step_12"
    assert evaluate_split.results_folder(config, run, "best").name == "evaluation"
    validation = evaluate_split.config_of_validation(config)
    assert evaluate_split.results_folder(validation, run, None).name == "val"
    assert evaluate_split.results_folder(validation, run, 8).name == "val-step_8"


@pytest.mark.parametrize(
    ("given", "step"), [(None, None), ("best", "best"), ("7", 7), ("007", 7), ("0", 0)]
)
def test_the_flag_step(monkeypatch, given, step):
    monkeypatch.setattr(command, "_STEP", SimpleNamespace(value=given))
    assert command._step() == step


@pytest.mark.parametrize("given", ["bset", "", "-1", "1.5", "1e3", "latest", "BEST", "²"])
def test_a_step_that_is_none(monkeypatch, given):
    monkeypatch.setattr(command, "_STEP", SimpleNamespace(value=given))
    with pytest.raises(UserError, match=r"give the number of a checkpoint, or best"):
        command._step()


def test_no_best_is_one_line(tmp_path):
    run = make_run(tmp_path, steps=(3, 7))
    for use in (Detector.load, checkpoints.load_variables):
        with pytest.raises(UserError, match=r"has no best checkpoint: .* such as 7, the newest"):
            use(run, "best")


def test_tensorboard_has_images_and_curves(run, config):
    """The same images at every evaluation, drawn; curves that count what was predicted."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    tags = events.Tags()["tensors"]
    assert "loss" in tags and "eval/mAP/default/full" in tags
    scalars = {e.step: tensor_util.make_ndarray(e.tensor_proto).item()
               for e in events.Tensors("eval/mAP/default/full")}  # fmt: skip
    assert sorted(scalars) == [4, 8, 12] and scalars[8] == 50.0
    images = sorted(tag for tag in tags if tag.startswith("eval/image_"))
    assert images == ["eval/image_1/figures_train_000008.png",
                      "eval/image_2/figures_train_000011.png"]  # fmt: skip
    for tag in images:
        assert [e.step for e in events.Tensors(tag)] == [4, 8, 12]
        width, height, png = tensor_util.make_ndarray(events.Tensors(tag)[0].tensor_proto)
        assert (int(width), int(height)) == (480, 480) and png.startswith(b"\x89PNG")
    plugin = events.SummaryMetadata("eval/precision_recall/full").plugin_data
    assert plugin.plugin_name == metadata.PLUGIN_NAME
    assert metadata.parse_plugin_metadata(plugin.content).num_thresholds == 201
    last = tensor_util.make_ndarray(events.Tensors("eval/precision_recall/full")[-1].tensor_proto)
    entries = json.loads((run / "evaluation/val/predictions.json").read_text())
    dataset = data_pipelines.load_dataset(config.data)
    truth = dataset.ground_truth("val")
    scores = np.array([pair["score"] for e in entries for pair in e["hoi_prediction"]])
    pairs = sum(len(e["hoi_annotation"]) for e in truth)
    found, wrong, _, missed, precision, recall = last
    for place in (0, 1, 100, 200):
        assert found[place] + wrong[place] == (scores >= place / 200).sum()
    np.testing.assert_array_equal(found + missed, pairs)
    np.testing.assert_allclose(precision, found / np.maximum(found + wrong, 1), rtol=1e-6)
    np.testing.assert_allclose(recall, found / pairs, rtol=1e-6)


def test_a_curve_of_known_predictions():
    """Two right and two wrong, at scores that are known; rare and other classes apart."""
    vocabulary = load_vocabulary("figures_hoi")
    verb, obj = (vocabulary.classes[0][0], vocabulary.classes[0][1])
    boxes = [{"bbox": [10, 10, 50, 90], "category_id": vocabulary.object_ids[0]},
             {"bbox": [40, 40, 90, 90], "category_id": vocabulary.object_ids[obj]}]  # fmt: skip
    pair = {"subject_id": 0, "object_id": 1, "category_id": vocabulary.verb_ids[verb]}
    truth = [{"file_name": f"{k}.png", "annotations": boxes, "hoi_annotation": [pair]}
             for k in range(3)]  # fmt: skip
    far = [{**box, "bbox": [200, 200, 220, 220]} for box in boxes]
    entries = [
        {"file_name": f"{k}.png", "predictions": [{**box, "score": 1.0} for box in kind],
         "hoi_prediction": [{**pair, "score": score}]}
        for k, (kind, score) in enumerate(((boxes, 0.95), (boxes, 0.35), (far, 0.55)))
    ]  # fmt: skip
    _, match = hico.evaluate_and_match(entries, truth, vocabulary)
    curves = precision_recall.pooled(match(), thresholds=11)
    group = "rare" if vocabulary.rare[0] else "non_rare"
    for name in ("full", group):
        curve = curves[name]
        assert curve.true_positives.tolist() == [2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 0]
        assert curve.false_positives.tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
        assert curve.ground_truth == 3
        assert curve.precision[[0, 4, 9, 10]].tolist() == [2 / 3, 0.5, 1.0, 0.0]
        assert curve.recall[[0, 4, 10]].tolist() == [2 / 3, 1 / 3, 0.0]
    other = ({"rare", "non_rare"} - {group}).pop()
    assert curves[other].ground_truth == 0 == curves[other].true_positives.max()


@pytest.mark.parametrize(
    ("asked", "protocol", "metric"),
    [
        ("map", "hico", "mAP/default/full"),
        ("mAP", "hico", "mAP/default/full"),
        ("mAP/known_object/full", "hico", "mAP/known_object/full"),
        ("default/non_rare", "hico", "mAP/default/non_rare"),
        ("map", "hico_ppdm", "mAP/ppdm/full"),
    ],
)
def test_what_a_metric_is_called(config, asked, protocol, metric):
    config = config.copy_and_resolve_references()
    config.eval.update(best=asked, protocol=protocol)
    dataset = data_pipelines.load_dataset(config.data)
    assert evaluate_split.check_training(config, dataset) == metric


@pytest.mark.parametrize("asked", ["mpa", "loss", "full", "default/ful", "scenario_1/roles_24"])
def test_an_unknown_metric_is_answered_with_the_list(config, tmp_path, asked):
    config = config.copy_and_resolve_references()
    config.eval.best = asked
    with pytest.raises(UserError) as error:
        modes.train(config, tmp_path / "run", data_pipelines)
    said = str(error.value)
    assert f"config.eval.best={asked!r} is no metric of eval.protocol=hico" in said
    assert "map (which is default/full), default/full, default/rare" in said
    assert not (tmp_path / "run").exists()


def test_a_metric_without_a_value_there(config):
    """None of the rare classes is in one image; refused before anything is trained."""
    config = config.copy_and_resolve_references()
    config.eval.best = "default/rare"
    dataset = data_pipelines.load_dataset(config.data)
    rare = {vocabulary_id for vocabulary_id, flag in enumerate(dataset.vocabulary.rare) if flag}
    truth = dataset.ground_truth("val")
    dataset = SimpleNamespace(vocabulary=dataset.vocabulary, num_val=1)
    kept = [e for e in truth if not _classes(e, dataset.vocabulary) & rare][:1]
    dataset.ground_truth = lambda split: kept
    with pytest.raises(UserError, match=r"no value on the validation split: .* in these 1 images"):
        evaluate_split.check_training(config, dataset)


def _classes(entry, vocabulary):
    pairs = [
        (
            vocabulary.verb_ids.index(pair["category_id"]),
            vocabulary.object_ids.index(entry["annotations"][pair["object_id"]]["category_id"]),
        )
        for pair in entry["hoi_annotation"]
    ]
    return {vocabulary.classes.index(pair) for pair in pairs if pair in vocabulary.classes}


def test_nothing_to_evaluate_on(tmp_path, monkeypatch, capsys):
    """Training ends well and says so; evaluating says what to give."""
    names = [f"{k}.png" for k in range(4)]
    write_images(tmp_path / "images", names)
    boxes = [{"bbox": [1, 2, 30, 40], "category_id": 1},
             {"bbox": [20, 10, 50, 45], "category_id": 2}]  # fmt: skip
    pair = {"subject_id": 0, "object_id": 1, "category_id": 1}
    entries = [{"file_name": n, "annotations": boxes, "hoi_annotation": [pair]} for n in names]
    config = own_config(tmp_path, entries, [])
    config.data.update(eval_annotations="", eval_images="")
    run = make_run(tmp_path / "run", steps=(7,))
    evaluated = []
    monkeypatch.setattr(
        loop, "train", lambda *a, **k: evaluated.append(a) or loop.TrainResult(7, True)
    )
    assert modes.train(config, run, data_pipelines) == 0
    said = capsys.readouterr().out
    assert (
        "there is no data to evaluate on" in said and "the newest checkpoint is of step 7" in said
    )
    assert "mAP" not in said and not (run / "evaluation").exists()
    trained = evaluate_split.detection.load(run)
    dataset = data_pipelines.load_dataset(config.data)
    monkeypatch.setattr(
        evaluate_split.detection, "load",
        lambda *_: trained._replace(vocabulary=dataset.vocabulary),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"nothing to evaluate on: give --config\.data\.eval_ann"):
        evaluate_split.evaluate(config, run, None, data=data_pipelines)
    config.data.val_split = "0.5"
    with pytest.raises(UserError, match=r"or --config\.data\.eval_split=val for the validation"):
        evaluate_split.evaluate(config, run, None, data=data_pipelines)


@pytest.mark.parametrize("module", [None, ModuleType("wandb")], ids=["missing", "a folder"])
def test_wandb_that_is_not_there(config, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, "wandb", module)
    config = config.copy_and_resolve_references()
    config.wandb = True
    with pytest.raises(
        UserError, match=r"config\.wandb=True needs Weights & Biases, .* pip install"
    ):
        modes.train(config, tmp_path / "run", data_pipelines)
    assert not (tmp_path / "run").exists()


def test_best_json_says_what_was_chosen(run):
    record = best.read(run)
    assert (record["step"], record["value"], record["split"]) == (8, 50.0, "train[8:]")
    assert [step for step, _ in record["evaluations"]] == [4, 8, 12]
