"""Prediction files of other repositories: scored as their own evaluators do, told by content."""

import copy
import gzip
import io
import json
import pickle
import zipfile

import numpy as np
import plain_evaluation
import pytest
import scipy.io
from evaluation_scenes import found, random_scenes, truth
from prediction_files import (
    ACTIONS,
    HICO,
    V_COCO,
    CacheTemplate,
    hico_by_class,
    vcoco_list,
    write_hico_mats,
    write_json,
    write_pickle,
)
from vcoco_scenes import random_split

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import convert, formats, hico, vcoco
from ggnet_jax.evaluation.formats import hico_mat, matlab
from ggnet_jax.io import read_json

NAMES = hico_mat.image_names()
MAN, CUP = (0, 0, 40, 40, 1), (50, 0, 70, 20, 47)


def hico_scenes(seed=0, images=12):
    predictions, ground_truth = random_scenes(
        seed, images=images, vocabulary=HICO, name="HICO_test2015_{:08d}.jpg"
    )
    for entry in (*predictions, *ground_truth):  # they count from 0
        number = int(entry["file_name"][-12:-4]) + 1
        entry["file_name"] = f"HICO_test2015_{number:08d}.jpg"
    scores = iter(np.random.default_rng(seed).permutation(10_000).tolist())
    for entry in predictions:  # no ties, which files of different order would break differently
        for pair in entry["hoi_prediction"]:
            pair["score"] = (1 + next(scores)) / 10_001
    return predictions, ground_truth


def pairs_of(entries):
    """What the entries say, whatever the order of boxes."""
    result = {}
    for entry in entries:
        boxes = [(*map(float, box["bbox"]), box["category_id"]) for box in entry["predictions"]]
        result[entry["file_name"]] = sorted(
            (boxes[p["subject_id"]], boxes[p["object_id"]], p["category_id"], p["score"])
            for p in entry["hoi_prediction"]
        )
    return {name: pairs for name, pairs in result.items() if pairs}


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_mats_is_scored_as_the_same_predictions_in_json(tmp_path, packed):
    predictions, ground_truth = hico_scenes()
    folder = write_hico_mats(tmp_path / "mats", predictions, NAMES[:12], packed=packed)
    for protocol in ("no_frills", "official", "pocket"):
        expected = hico.evaluate(predictions, ground_truth, protocol=protocol)
        result = hico.evaluate(folder, ground_truth, protocol=protocol)
        for setting in expected.settings:
            np.testing.assert_array_equal(result[setting].ap, expected[setting].ap)
    assert result.counts["predictions"] == expected.counts["predictions"] > 50
    convert.convert(folder, tmp_path / "p.json")
    assert pairs_of(read_json(tmp_path / "p.json")) == pairs_of(predictions)


def test_the_number_of_an_image_is_that_of_the_data_set_s_list():
    """The test set's numbers have gaps, the first at 504."""
    assert len(NAMES) == len(set(NAMES)) == 9658
    assert (NAMES[502], NAMES[503]) == tuple(
        f"HICO_test2015_{number:08d}.jpg" for number in (503, 505)
    )
    assert NAMES[-1] == "HICO_test2015_00009767.jpg"


@pytest.mark.parametrize("as_arrays", [False, True])
def test_a_pickle_by_class_is_scored_as_the_same_predictions_in_json(tmp_path, as_arrays):
    predictions, ground_truth = hico_scenes(1)
    table = hico_by_class(predictions)
    if as_arrays:
        table = {
            key: {index: np.array(column) for index, column in one.items() if column}
            for key, one in table.items()
        }
    path = write_pickle(tmp_path / "preds.pkl", table, 4)
    expected = hico.evaluate(predictions, ground_truth)
    result = hico.evaluate(path, ground_truth)
    for setting in ("default", "known_object"):
        np.testing.assert_array_equal(result[setting].ap, expected[setting].ap)
    convert.convert(path, tmp_path / "p.jsonl")
    assert pairs_of(read_json(tmp_path / "p.jsonl")) == pairs_of(predictions)


def vcoco_scenes(seed):
    """Predictions that repeat no (person, role, object), and the annotation."""
    predictions, vsrl, instances = random_split(seed)
    for entry in predictions:
        seen = {}
        boxes = entry["predictions"]
        for pair in entry["hoi_prediction"]:
            key = (
                *boxes[pair["subject_id"]]["bbox"],
                pair["category_id"],
                *boxes[pair["object_id"]]["bbox"],
            )
            seen.setdefault(key, pair)
        entry["hoi_prediction"] = [*seen.values()]
    return predictions, vsrl, instances


@pytest.mark.parametrize("kind", [dict, CacheTemplate])
@pytest.mark.parametrize("seed", range(4))
def test_vcoco_s_pickles_are_scored_as_its_code_does(tmp_path, kind, seed):
    """Filled-in roles and agents included, one by one."""
    predictions, vsrl, instances = vcoco_scenes(seed)
    entries = vcoco_list(predictions, kind)
    result = vcoco.evaluate(write_pickle(tmp_path / "cache.pkl", entries), vsrl, instances)
    for setting, any_object in (("scenario_1", False), ("scenario_2", True)):
        expected = plain_evaluation.vcoco_detections(
            entries, vsrl, instances, any_object=any_object
        )
        for name, ap in zip(result[setting].labels, result[setting].ap, strict=True):
            assert ap == pytest.approx(expected[name], abs=1e-12, nan_ok=True), name
    for name, ap in zip(result["agent"].labels, result["agent"].ap, strict=True):
        assert ap == pytest.approx(expected[f"{name}_agent"], abs=1e-12, nan_ok=True), name
    filled = [note for note in result.notes if "count with the score 0" in note]
    assert len(filled) == (kind is CacheTemplate)
    if kind is dict:
        scores = vcoco.evaluate(predictions, vsrl, instances)
        assert result.means["scenario_1"] == pytest.approx(scores.means["scenario_1"])


def whole(image_id, box, target, **scores):
    """An entry with every role and agent, as QPIC and CDN write them; NaN for no object."""
    entry = {"image_id": image_id, "person_box": list(box)}
    entry |= {name: [*target, scores.get(name, 0.0)] for name in V_COCO.verbs}
    return entry | {f"{name}_agent": scores.get(f"{name}_agent", 0.0) for name in ACTIONS}


@pytest.mark.parametrize("seed", range(2))
def test_whole_entries_with_scores_of_zero(tmp_path, seed):
    predictions, vsrl, instances = vcoco_scenes(seed)
    entries = []
    for number, entry in enumerate(vcoco_list(predictions)):
        role = next(key for key in entry if key in V_COCO.verbs)
        *target, score = entry[role]
        nothing = [float("nan")] * 4 if number % 5 == 0 else target
        nothing = [0.0, 0.0, 0.1, 0.1] if number % 5 == 1 else nothing
        kept = {role: score if number % 7 else float("nan")}
        entries.append(whole(entry["image_id"], entry["person_box"], nothing, **kept))
    result = vcoco.evaluate(write_pickle(tmp_path / "v.pickle", entries), vsrl, instances)
    for setting, any_object in (("scenario_1", False), ("scenario_2", True)):
        expected = plain_evaluation.vcoco_detections(
            [{k: _float32(v) for k, v in entry.items()} for entry in entries],
            vsrl,
            instances,
            any_object=any_object,
        )
        for name, ap in zip(result[setting].labels, result[setting].ap, strict=True):
            assert ap == pytest.approx(expected[name], abs=1e-12, nan_ok=True), name


def _float32(value):
    return value if isinstance(value, int) else np.array(value, np.float32).astype(float).tolist()


def test_vcoco_s_pickle_agrees_with_the_reference(tmp_path, shared_dir):
    """Each (person, role, object) once, as the reference's own converter writes them."""
    folder, data = shared_dir / "reference" / "eval", shared_dir / "data" / "vcoco"
    expected = json.loads((folder / "expected_vcoco.json").read_text())
    best = {}
    for entry in vcoco_list(read_json(folder / "vcoco_predictions.json.gz")):
        role = next(key for key in entry if key in V_COCO.verbs)
        key = (entry["image_id"], *entry["person_box"], role, *entry[role][:4])
        if key not in best or best[key][role][4] < entry[role][4]:
            best[key] = entry
    path = write_pickle(tmp_path / "vcoco.pickle", [*best.values()])
    truth = data / "vcoco_val.json.gz", data / "instances_vcoco_val.json.gz"
    result = vcoco.evaluate(path, *truth)
    for setting in ("scenario_1", "scenario_2"):
        rows = expected[setting]["rows"]
        np.testing.assert_allclose(
            result[setting].ap, [row["AP"] for row in rows], rtol=0, atol=1e-6
        )
        assert result[setting].predictions.tolist() == [row["n_det"] for row in rows]


def test_a_pickle_by_class_agrees_with_the_reference(tmp_path, shared_dir):
    folder, data = shared_dir / "reference" / "eval", shared_dir / "data" / "hico_det_test"
    expected = json.loads((folder / "expected_hico.json").read_text())
    table = hico_by_class(read_json(folder / "hico_predictions.json.gz"))
    path = write_pickle(tmp_path / "preds.pkl", table)
    result = hico.evaluate(path, data / "test_hico.json.gz")
    for setting in ("default", "known_object"):
        assert result.means[setting]["full"] == pytest.approx(expected[setting]["mAP"], abs=1e-9)


def test_by_hand_a_filled_role_finds_an_action_without_object(tmp_path):
    """A cache with one prediction: its other roles are found in Scenario 2, at score 0."""
    _, vsrl, instances = random_split(0)
    image = next(image for image in vsrl[0]["image_id"])
    people = [a for a in instances["annotations"] if a["image_id"] == image]
    person = next(a for a in people if a["id"] in vsrl[0]["ann_id"])
    x, y, w, h = person["bbox"]
    entry = CacheTemplate(image_id=image, person_box=[x, y, x + w - 1, y + h - 1])
    result = vcoco.evaluate(write_pickle(tmp_path / "c.pkl", [entry]), vsrl, instances)
    assert set(result["scenario_1"].predictions.tolist()) == {1}
    assert set(result["agent"].predictions.tolist()) == {1}
    row = vsrl[0]["ann_id"].index(person["id"])
    does = [bool(action["label"][row]) for action in vsrl]
    assert (result["agent"].true_positives == does).all()


def test_vcoco_s_pickle_against_pair_lists_and_converted(tmp_path):
    """PPDM's mAP of a pickle is that of its predictions in JSON; nothing that is filled counts."""
    predictions, _, _ = vcoco_scenes(3)
    ground_truth = [
        {"file_name": e["file_name"], "annotations": e["predictions"], "hoi_annotation": pairs}
        for e in predictions
        if (pairs := [p for p in e["hoi_prediction"] if p["object_id"] >= 0])
    ]
    for kind in (dict, CacheTemplate):
        path = write_pickle(tmp_path / "c.pkl", vcoco_list(predictions, kind))
        convert.convert(path, tmp_path / "c.json", force=True)
        results = [
            vcoco.evaluate(source, ground_truth, unknown_images="ignore")
            for source in (predictions, path, tmp_path / "c.json")
        ]
        assert results[0].means == results[1].means == results[2].means
    with pytest.raises(UserError, match="holds V-COCO's verb-roles, not classes of 'hico_det'"):
        hico.evaluate(path, [truth("a.jpg", [MAN, CUP], [(0, 1, 37)])])


def test_agents_without_object_and_old_names(tmp_path):
    """`stand` has no role; iCAN calls the phone's action `talk`."""
    entry = {"image_id": 7, "person_box": np.array([0.0, 0, 9, 9], np.float32)}
    entry |= {"stand_agent": np.float32(0.5), "talk_instr": np.array([1.0, 1, 5, 5, 0.25])}
    path = write_pickle(tmp_path / "p.pkl", [entry | {"person_score": 0.9}])
    convert.convert(path, tmp_path / "p.json")
    (image,) = read_json(tmp_path / "p.json")
    assert image["file_name"] == "000000000007.jpg"
    verbs = {pair["category_id"]: pair for pair in image["hoi_prediction"]}
    assert verbs.keys() == {27, 6}
    assert (verbs[27]["object_id"], verbs[27]["score"]) == (-1, 0.5)
    assert image["predictions"][verbs[6]["object_id"]]["bbox"] == [1, 1, 5, 5]


BOX = [0.0, 0.0, 9.0, 9.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"person_box": [0, 0, 9]}, "entry 1: 'person_box' is .*needs 4 numbers"),
        ({"person_box": "box"}, "entry 1: 'person_box' is 'box'"),
        ({"person_box": [9.0, 0.0, 0.0, 9.0]}, "entry 1, 'person_box' has a negative size"),
        ({"person_box": [np.nan] * 4}, "entry 1, 'person_box' has a coordinate that is not finite"),
        ({"image_id": "a.jpg"}, "entry 1: image_id is 'a.jpg'"),
        ({"image_id": 99}, "image_id 99 .entry 1. is not in the ground truth"),
        ({"hold_obj": [*BOX, "x"]}, "entry 1: 'hold_obj' is .*needs 5 numbers"),
        ({"hold_obj": BOX}, "entry 1: 'hold_obj' is .*needs 5 numbers"),
        ({"hold_obj": [np.nan, 0, 1, 1, 0.5]}, "entry 1, 'hold_obj' has a coordinate that is not"),
        ({"hold_obj": [*BOX, np.inf]}, "entry 1, 'hold_obj' has a score that is not finite"),
        ({"hold_obj": [0, 0, 1e300, 1, 0.5]}, "entry 1, 'hold_obj' has a coordinate"),
        ({"hold_object": [*BOX, 0.5]}, "'hold_object', which is no role of V-COCO; rename it to"),
        ({"hold_agent": [0.1, 0.2]}, "entry 1: 'hold_agent' is .*needs 1 number"),
        ({"hold_agent": {}}, "entry 1: 'hold_agent'"),
    ],
)
def test_a_bad_entry_is_named(tmp_path, change, message):
    _, vsrl, instances = random_split(0)
    image = vsrl[0]["image_id"][0]
    good = {"image_id": image, "person_box": BOX, "hold_obj": [*BOX, 0.5], "hold_agent": 0.5}
    path = write_pickle(tmp_path / "p.pkl", [good, {**good, **change}])
    with pytest.raises(UserError, match=message) as caught:
        vcoco.evaluate(path, vsrl, instances)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_other_bad_lists(tmp_path):
    _, vsrl, instances = random_split(0)
    good = {"image_id": vsrl[0]["image_id"][0], "person_box": BOX, "hold_obj": [*BOX, 0.5]}
    for bad in ({}, {"image_id": 1}, 5):
        path = write_pickle(tmp_path / "p.pkl", [good, bad])
        with pytest.raises(UserError, match="entry 1 is not a dictionary with 'image_id'"):
            vcoco.evaluate(path, vsrl, instances)
    unit = {**good, "person_box": [0.1, 0.1, 0.5, 0.9]}
    with pytest.raises(UserError, match=r"within 0\.\.1"):
        vcoco.evaluate(write_pickle(path, [unit]), vsrl, instances)
    path = write_pickle(path, [{**good, "image_id": 10**6}])
    with pytest.raises(UserError, match="none of the 1 predicted images is annotated"):
        vcoco.evaluate(path, vsrl, instances, unknown_images="ignore")
    more = write_pickle(path, [good, {**good, "image_id": 10**6}])
    assert (
        vcoco.evaluate(more, vsrl, instances, unknown_images="ignore").counts[
            "entries_of_unknown_images"
        ]
        == 1
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["scores"][86].append(0.5), "class 86 has 2 scores, 1 boxes and 1 keys"),
        (
            lambda t: t["boxes"][86].append([1, 2]),
            r"class 86, boxes, entry 1 is \[1, 2\]; it needs 8 numbers",
        ),
        (lambda t: t["scores"].update({600: [0.5]}), "class 600 is none of HICO-DET's"),
        (lambda t: t["keys"].update({86: [1.5]}), "class 86 has the key 1.5, which is no number"),
        (lambda t: t["keys"].update({"a": []}), "has the key 'a', which is no number"),
        (lambda t: t.update(scores=5), "'scores' is of the type int"),
        (lambda t: t["keys"].update({86: 5}), "class 86, keys: it is no list"),
        (
            lambda t: t["scores"].update({86: ["x"]}),
            "class 86, scores, entry 0 is 'x'; it needs 1 number",
        ),
        (lambda t: t["scores"].update({86: [np.nan]}), "class 86, entry 0 has a score that is not"),
        (lambda t: t["boxes"].update({86: [[9, 9, 0, 0] * 2]}), "entry 0 has a negative size"),
        (lambda t: t["keys"].update({86: [504]}), "HICO_test2015_00000504.jpg' .* not in the"),
    ],
)
def test_a_bad_table_by_class_is_named(tmp_path, change, message):
    ground_truth = [truth(NAMES[0], [MAN, (50, 0, 70, 20, 62)], [(0, 1, 9)])]
    table = hico_by_class([found(NAMES[0], [MAN, (50, 0, 70, 20, 62)], [(0, 1, 9, 0.5)])])
    assert table["scores"][86] == [0.5]
    path = write_pickle(tmp_path / "p.pkl", table)
    assert hico.evaluate(path, ground_truth)["default"].ap[86] == pytest.approx(1.0)
    change(table)
    with pytest.raises(UserError, match=message) as caught:
        hico.evaluate(write_pickle(path, table), ground_truth)
    assert "\n" not in str(caught.value)


def test_bad_mats_are_named(tmp_path):
    predictions, ground_truth = hico_scenes(2, images=4)
    folder = write_hico_mats(tmp_path / "mats", predictions, NAMES[:4])
    good = (folder / "detections_07.mat").read_bytes()

    def fails(message):
        with pytest.raises(UserError, match=message) as caught:
            hico.evaluate(folder, ground_truth)
        assert "\n" not in str(caught.value)

    def replace(array, name="all_boxes"):
        scipy.io.savemat(folder / "detections_07.mat", {name: array})

    cells = np.empty((8, 4), object)
    cells[:] = [[np.zeros((0, 0))] * 4] * 8
    replace(cells)
    hico.evaluate(folder, ground_truth)
    replace(cells, "boxes")
    fails(r"detections_07\.mat: the \.mat file has no array 'all_boxes' \(it has 'boxes'\)")
    replace(np.eye(3))
    fails("'all_boxes' is not a cell array")
    replace(cells[:5])
    fails("all_boxes of detections_07.mat has 5 rows; train, COCO's object 7, has 8 classes")
    replace(cells[:, :3])
    fails("all_boxes has 3 or 4 columns")
    for bad, message in (
        (np.zeros((2, 8)), r"cell \(3, 2\) of all_boxes is 2 x 8, not n x 9"),
        (np.array([["a"]]), "a cell holds char"),
        (np.zeros((1, 9)) + 1j, "complex"),
        (
            np.array([[5.0, 5, 1, 1, 0, 0, 9, 9, 0.5]]),
            "class .* in .*_07.mat has a negative",
        ),
        (np.array([[0.0, 0, 9, 9, 0, 0, 9, np.nan, 0.5]]), "has a coordinate that is not finite"),
    ):
        changed = cells.copy()
        changed[2, 1] = bad
        replace(changed)
        fails(message)
    (folder / "detections_07.mat").write_bytes(b"MATLAB 7.3 MAT-file" + good[19:])
    fails("is a MATLAB 7.3 file")
    (folder / "detections_07.mat").write_bytes(good[: len(good) // 2])
    fails("detections_07.mat")
    (folder / "detections_07.mat").unlink()
    fails(r"lacks 1 of them \(07\)")
    with pytest.raises(UserError, match=r"is a MATLAB file .*give the folder"):
        hico.evaluate(folder / "detections_08.mat", ground_truth)
    with pytest.raises(UserError, match=r"is a folder without detections_01\.mat"):
        hico.evaluate(tmp_path, ground_truth)


def mat_of(array, **options):
    file = io.BytesIO()
    scipy.io.savemat(file, {"other": 1.0, "all_boxes": array}, **options)
    return file.getvalue()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int16, np.uint8])
def test_cells_of_matlab_files(packed, kind):
    """As SciPy, which knows all kinds of them, writes and reads them."""
    rng = np.random.default_rng(0)
    array = np.empty((5, 40), object)
    for place in np.ndindex(array.shape):
        rows = int(rng.integers(-3, 3))
        array[place] = rng.uniform(0, 99, (max(0, rows), 9)).astype(kind)
        if rows < 0:
            array[place] = np.zeros((0, 0))
    shape, places, matrices = matlab.read_cells(
        "f", mat_of(array, do_compression=packed), "all_boxes"
    )
    assert shape == (5, 40)
    expected = {place: array[place] for place in np.ndindex(array.shape) if array[place].size}
    assert {tuple(place) for place in places.tolist()} == expected.keys()
    for place, matrix in zip(places, matrices, strict=True):
        np.testing.assert_array_equal(matrix, expected[tuple(place)])


def test_random_changes_of_a_mat_are_read_or_one_line():
    rng = np.random.default_rng(1)
    array = np.empty((2, 3), object)
    array[:] = [[np.zeros((0, 0)), rng.uniform(0, 9, (2, 9)), np.zeros((0, 0))]] * 2
    for packed in (False, True):
        data = mat_of(array, do_compression=packed)
        for _ in range(150):
            changed = bytearray(data)
            changed[rng.integers(len(data))] = rng.integers(256)
            try:
                shape, _, _ = matlab.read_cells("f", bytes(changed), "all_boxes")
                assert len(shape) == 2
            except UserError as error:
                assert "\n" not in str(error)


NOT_PREDICTIONS = {
    "coco.json": (
        lambda: json.dumps(
            [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}]
        ).encode(),
        "looks like COCO's detection results, which are boxes without interactions",
    ),
    "instances.json": (
        lambda: json.dumps({"images": [], "annotations": [], "categories": []}).encode(),
        "looks like COCO's instances, not predictions",
    ),
    "vsrl.json": (
        lambda: json.dumps([{"action_name": "hold", "role_object_id": []}]).encode(),
        "looks like V-COCO's own annotations",
    ),
    "e.pkl": (lambda: _pickled([{"file_name": "a"}]), "a pickle of a list of 1, .*'file_name'"),
    "p.pkl": (lambda: _pickled({"boxes": 1, "labels": 2}), "a pickle of a dictionary with 'boxes'"),
    "l.pkl": (lambda: _pickled([[1]]), r"a pickle of a list of 1, the first of them a list of 1"),
    "a.pkl": (lambda: _pickled(np.eye(2)), "a pickle of of the type Array|a NumPy array"),
    "z.npz": (lambda: _npz(), r"a file of NumPy arrays \(.npz\)"),
    "t.pth": (lambda: _zip("archive/data.pkl"), "a file of PyTorch's torch.save"),
    "z.zip": (lambda: _zip("p.json"), r"a zip archive of 1 files \(p.json\): unpack it"),
    "h.mat": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(600), "an HDF5 file"),
    "m.mat": (lambda: mat_of(np.eye(2)), "a MATLAB file .*give the folder"),
    "page": (lambda: b"<!DOCTYPE html><html>", "an HTML page"),
    "lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
}


def _pickled(value):
    return pickle.dumps(value, 2)


def _npz():
    file = io.BytesIO()
    np.savez(file, a=np.eye(2))
    return file.getvalue()


def _zip(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "x" * 100)
    return file.getvalue()


@pytest.mark.parametrize("name", NOT_PREDICTIONS)
def test_what_is_no_predictions_is_told(tmp_path, name):
    content, message = NOT_PREDICTIONS[name]
    (tmp_path / "file").write_bytes(content())
    with pytest.raises(UserError, match=message) as caught:
        hico.evaluate(tmp_path / "file", [truth("a.jpg", [MAN, CUP], [(0, 1, 37)])])
    assert "what is read: PPDM's JSON" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_kinds_are_told_by_content_not_by_name(tmp_path):
    """A packed pickle, an empty one, V-COCO's list in JSON, any name."""
    predictions, ground_truth = hico_scenes(4)
    expected = hico.evaluate(predictions, ground_truth).means
    nothing = hico.evaluate(write_pickle(tmp_path / "a.json", []), ground_truth)
    assert nothing.means["default"]["full"] == 0
    table = write_pickle(tmp_path / "b.json", hico_by_class(predictions)).read_bytes()
    (tmp_path / "c.pkl.gz").write_bytes(gzip.compress(table))
    assert hico.evaluate(tmp_path / "c.pkl.gz", ground_truth).means == expected
    path = write_json(tmp_path / "d.pkl", hico_by_class(predictions))
    assert hico.evaluate(path, ground_truth).means == expected
    predictions, vsrl, instances = vcoco_scenes(0)
    entries = vcoco_list(predictions)
    expected = vcoco.evaluate(write_pickle(tmp_path / "e", entries), vsrl, instances).means
    path = write_json(tmp_path / "f", entries)
    assert vcoco.evaluate(path, vsrl, instances).means == expected
    assert vcoco.evaluate(entries, vsrl, instances).means == expected
    caches = vcoco_list(predictions, CacheTemplate)
    expected_of_caches = vcoco.evaluate(write_pickle(tmp_path / "h", caches), vsrl, instances)
    assert vcoco.evaluate(caches, vsrl, instances).means == expected_of_caches.means
    arrays = copy.deepcopy(entries)
    for entry in arrays:
        entry["person_box"] = np.array(entry["person_box"])
    assert (
        vcoco.evaluate(write_pickle(tmp_path / "g", arrays, 5), vsrl, instances).means == expected
    )
    assert isinstance(formats.load_predictions(path), formats.Detections)


def test_random_changes_of_a_pickle_end_in_figures_or_one_line(tmp_path):
    predictions, vsrl, instances = vcoco_scenes(0)
    data = write_pickle(tmp_path / "p", vcoco_list(predictions, CacheTemplate)).read_bytes()
    rng = np.random.default_rng(2)
    for _ in range(100):
        changed = bytearray(data)
        changed[rng.integers(len(data))] = rng.integers(256)
        (tmp_path / "p").write_bytes(changed)
        try:
            vcoco.evaluate(tmp_path / "p", vsrl, instances)
        except UserError as error:
            assert "\n" not in str(error)
