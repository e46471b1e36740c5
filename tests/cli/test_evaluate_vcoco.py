"""--mode=evaluate on V-COCO: which protocol it takes, and against which images."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from data_trees import VSRL, coco_instances, config_of, write_images
from fake_split import FakeSplit
from tiny import make_run, training_config

import data_pipelines
from data_pipelines.v_coco import vsrl
from ggnet_jax import vocabularies
from ggnet_jax.cli import evaluate_split, modes
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary

NAMES = ["COCO_train2014_000000000007.jpg", "COCO_train2014_000000000009.jpg"]
CUT_WITH, CUT = 2, 4


@pytest.fixture
def files(tmp_path):
    """V-COCO's own files: in image 7 a person cuts 73 with 72, in 9 one cuts nothing."""
    (tmp_path / "vcoco_test.json").write_text(json.dumps(VSRL))
    (tmp_path / "instances.json").write_text(json.dumps(coco_instances()))
    return {"annotations": str(tmp_path / "vcoco_test.json"),
            "instances": [str(tmp_path / "instances.json")]}  # fmt: skip


@pytest.fixture
def dataset(tmp_path, files):
    write_images(tmp_path / "images", NAMES)
    config = config_of(
        tmp_path,
        "v_coco",
        eval_annotations=files["annotations"],
        eval_images=str(tmp_path / "images"),
        eval_instances=files["instances"][0],
    )
    with pytest.raises(UserError, match="no split 'train'; it has test"):
        data_pipelines.load_dataset(config.data)
    return data_pipelines.load_dataset(config.data, training=False)


def entry(name, person, thing=None, verb=CUT_WITH):
    """A person and an object by their numbers in `coco_instances`, as a network predicts them."""
    boxes = [[n - 70, 2.5, n - 61, 21.5] for n in (person, thing or person)]
    return {
        "file_name": name,
        "predictions": [{"bbox": box, "category_id": 1, "score": 0.9} for box in boxes],
        "hoi_prediction": [
            {"subject_id": 0, "object_id": 1 if thing else -1, "category_id": verb, "score": 0.8}
        ],
    }


def score(dataset, split, predictions, protocol="vcoco"):
    config = SimpleNamespace(
        data=SimpleNamespace(eval_split=split), eval=SimpleNamespace(protocol=protocol)
    )
    return evaluate_split.scorer(dataset.ground_truth(split), dataset, config)(predictions)


def ap(result, setting, name):
    scores = result[setting]
    return scores.ap[scores.labels.index(name)]


def test_evaluation_needs_no_training_split(dataset):
    assert dataset.num_eval == 2
    assert dataset.verbs_of_object[vocabularies.load("v_coco").object_index(49), 2]


def test_a_split_built_from_v_cocos_own_files_gets_both_scenarios(dataset):
    predictions = [entry(NAMES[0], 70, 72), entry(NAMES[1], 90)]
    result = score(dataset, "test", predictions)
    assert list(result.settings) == ["scenario_1", "scenario_2", "agent"]
    for setting in ("scenario_1", "scenario_2"):
        assert ap(result, setting, "cut_instr") == 1
    predictions[1] = entry(NAMES[1], 90, 72)  # with an object, which only scenario 2 forgives
    result = score(dataset, "test", predictions)
    assert ap(result, "scenario_1", "cut_instr") == 0.5
    assert ap(result, "scenario_2", "cut_instr") == 1


def test_a_part_of_a_split_is_scored_on_its_own_images(dataset):
    result = score(dataset, "test[:1]", [entry(NAMES[0], 70, 72)])
    assert ap(result, "scenario_1", "cut_instr") == 1  # image 9's person isn't missed
    assert result.counts["images"] == 1


def test_only_v_cocos_own_files_have_scenarios(dataset, files, tmp_path):
    """With pair lists PPDM's figure is what there is, whatever instances are named beside them."""
    pairs = tmp_path / "test_vcoco.json"
    pairs.write_text(json.dumps(dataset.ground_truth("test")))
    for sources in ([], [{**files, "annotations": str(pairs)}]):
        split = CocoSplit(sources)
        truth = dataset.ground_truth("test")
        assert split.vcoco_annotations("test", truth) is None
        split.ground_truth = dataset.ground_truth
        result = score(split, "test", [entry(name, 70, 72) for name in NAMES])
        assert list(result.settings) == ["ppdm"]
        assert ap(result, "ppdm", "cut_instr") == 1


def test_hico_dets_protocols_are_chosen_by_name(dataset):
    entries = [entry(name, 70, 72) for name in NAMES]
    assert list(score(dataset, "test", entries, "hico").settings) == ["default", "known_object"]
    assert list(score(dataset, "test", entries, "hico_ppdm").settings) == ["ppdm"]


def test_rows_of_several_files_are_put_together_role_by_role():
    halves = [vsrl.select([VSRL], [image]) for image in (7, 9)]
    assert halves[0][0]["role_object_id"] == [70, 71, 72, 0, 73, 0]
    assert halves[1][0]["ann_id"] == [90]
    assert vsrl.select(halves, [7, 9]) == VSRL
    with pytest.raises(UserError, match="different actions"):
        vsrl.select([VSRL, VSRL[:1]], [7])


V_COCO_PART = Vocabulary(
    name="part of v_coco",
    objects=("person", "bicycle", "kite"),
    object_ids=(1, 2, 38),
    verbs=("cut_instr", "ride_instr", "look_obj", "hold_obj"),
    verb_ids=(2, 5, 18, 25),
    classes=((1, 1), (2, 1), (3, 2), (3, 0)),
)


class CocoSplit(FakeSplit):
    """Noise under COCO's names, with V-COCO's own files or without."""

    def __init__(self, sources, vocabulary=V_COCO_PART):
        super().__init__(images=2, vocabulary=vocabulary)
        self._sources = sources

    def sources(self, split):
        return self._sources

    def vcoco_annotations(self, split, truth):
        return data_pipelines.Dataset.vcoco_annotations(self, split, truth)

    def ground_truth(self, split):
        named = zip(NAMES, super().ground_truth(split), strict=True)
        pair = {"subject_id": 0, "object_id": 1, "category_id": 5}
        return [
            {**entry, "file_name": name, "img_id": int(name[-16:-4]), "hoi_annotation": [pair]}
            for name, entry in named
        ]


def test_evaluate_writes_v_cocos_tables(monkeypatch, tmp_path, files, capsys):
    """An untrained network, with four of V-COCO's verbs."""
    run = make_run(tmp_path / "run", vocabulary=V_COCO_PART)
    for sources, settings in (([files], ["scenario_1", "scenario_2", "agent"]), ([], ["ppdm"])):
        split = CocoSplit(sources)
        results = evaluate_split.evaluate(split.config(protocol="vcoco"), run, data=split)
        (folder,) = (run / "evaluation").glob("vcoco-*")  # the run's own protocol is "hico"
        metrics = json.loads((folder / "metrics.json").read_text())
        assert list(metrics["settings"]) == settings
        assert all(np.isfinite(value) for value in results.values())
        for setting in settings:
            assert (folder / f"ap_{setting}.svg").is_file()
            assert any(name.startswith(f"mAP/{setting}/") for name in results)
    assert "24 roles  25 roles" in capsys.readouterr().out
    assert {path.name for path in (run / "evaluation").iterdir()} == {folder.name}
    files["instances"] = [str(tmp_path / "gone.json")]
    split = CocoSplit([files])
    monkeypatch.setattr(evaluate_split, "predict_split", None)  # isn't reached
    with pytest.raises(UserError, match=r"gone\.json"):
        evaluate_split.evaluate(split.config(protocol="vcoco"), run, data=split)


def test_v_cocos_protocol_is_refused_for_other_classes(tmp_path):
    """Ids alone do not tell: this data set's are V-COCO's, its verbs are not."""
    config = FakeSplit(images=2).config(protocol="vcoco")
    evaluate_split.check_protocol(config, vocabularies.load("v_coco"))
    evaluate_split.check_protocol(config, V_COCO_PART)
    own = dataclasses.replace(V_COCO_PART, verbs=("cut_instr", "ride_instr", "pet", "hold_obj"))
    for wrong in (own, vocabularies.load("hico_det"), vocabularies.load("figures_hoi")):
        with pytest.raises(UserError, match=r"eval.protocol=vcoco is for V-COCO's classes, and .*"):
            evaluate_split.check_protocol(config, wrong)
        for protocol in ("hico", "hico_ppdm"):
            evaluate_split.check_protocol(FakeSplit(images=2).config(protocol=protocol), wrong)


def test_training_asks_about_the_protocol_before_it_writes_anything(monkeypatch, tmp_path):
    config = training_config(
        model__num_verbs=0, model__num_objects=0, eval__protocol="vcoco", eval__pictures=0
    )
    with pytest.raises(UserError, match=r"'figures_hoi' has the verb .* V-COCO has not"):
        modes.train(
            config, tmp_path / "run", FakeSplit(2, vocabulary=vocabularies.load("figures_hoi"))
        )
    assert not (tmp_path / "run").exists()
