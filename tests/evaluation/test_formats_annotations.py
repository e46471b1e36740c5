"""pocket's annotation files as ground truth and as sources; converting; names and instances."""

import copy
import gzip
import json
import os

import numpy as np
import pytest
from data_trees import config_of, examples, write_images
from evaluation_scenes import SMALL, found, random_scenes, truth
from prediction_files import (
    HICO,
    V_COCO,
    CacheTemplate,
    pocket_hico,
    pocket_vcoco,
    vcoco_list,
    write_json,
    write_pickle,
)
from vcoco_scenes import random_split

from data_pipelines.hico_det import HicoDet
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import __main__ as commands
from ggnet_jax.evaluation import convert, hico, vcoco
from ggnet_jax.evaluation.formats import annotation_entries, files
from ggnet_jax.evaluation.images import number_images
from ggnet_jax.io import read_json

MAN, CUP = (0, 0, 40, 40, 1), (50, 0, 70, 20, 47)


def pairs_of(entry):
    """What an annotation entry says, pair by pair."""
    boxes = [(*map(float, box["bbox"]), box["category_id"]) for box in entry["annotations"]]
    return [
        (boxes[p["subject_id"]], boxes[p["object_id"]], p["category_id"])
        for p in entry["hoi_annotation"]
    ]


def same_annotation(entries, expected):
    assert [one["file_name"] for one in entries] == [one["file_name"] for one in expected]
    for one, other in zip(entries, expected, strict=True):
        assert pairs_of(one) == pairs_of(other)


def hico_truth(seed=0):
    return random_scenes(seed, vocabulary=HICO, name="HICO_test2015_{:08d}.jpg")


@pytest.mark.parametrize("packed", [False, True])
def test_pocket_s_hico_annotation_is_the_same_ground_truth(tmp_path, packed):
    predictions, ground_truth = hico_truth()
    path = write_json(tmp_path / "instances_test2015.json", pocket_hico(ground_truth))
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    same_annotation(annotation_entries(path), ground_truth)
    for protocol in ("no_frills", "official", "ppdm"):
        expected = hico.evaluate(predictions, ground_truth, protocol=protocol)
        result = hico.evaluate(predictions, path, protocol=protocol)
        for setting in expected.settings:
            np.testing.assert_array_equal(result[setting].ap, expected[setting].ap)
    assert result.counts == expected.counts
    convert.convert(path, tmp_path / "truth.json")
    same_annotation(read_json(tmp_path / "truth.json"), ground_truth)


def test_pocket_s_hico_annotation_is_pair_for_pair_ppdm_s(shared_dir):
    entries = read_json(shared_dir / "data" / "hico_det_test" / "test_hico.json.gz")
    made = annotation_entries(pocket_hico(entries))
    same_annotation(made, entries)
    assert (len(made), sum(len(one["hoi_annotation"]) for one in made)) == (9658, 33405)
    for one, other in zip(made, entries, strict=True):
        keys = ("width", "height")
        assert [one[key] for key in keys] == [other[key] for key in keys]
        assert [p["hoi_category_id"] for p in one["hoi_annotation"]] == [
            p["hoi_category_id"] for p in other["hoi_annotation"]
        ]


@pytest.mark.parametrize("with_names", [True, False])
def test_pocket_s_vcoco_annotation_is_the_same_pair_list(tmp_path, with_names):
    predictions, ground_truth = random_scenes(1, vocabulary=V_COCO, name="COCO_val2014_{:012d}.jpg")
    for entry in ground_truth:  # pocket leaves `point` out
        entry["hoi_annotation"] = [p for p in entry["hoi_annotation"] if p["category_id"] != 23]
    content = pocket_vcoco(ground_truth)
    if not with_names:  # its first files had COCO's ids
        del content["objects"]
        for image in content["annotations"]:
            image["objects"] = [V_COCO.object_ids[number - 1] for number in image["objects"]]
    path = write_json(tmp_path / "instances_vcoco_test.json", content)
    same_annotation(annotation_entries(path), ground_truth)
    expected = vcoco.evaluate(predictions, ground_truth)
    np.testing.assert_array_equal(vcoco.evaluate(predictions, path)["ppdm"].ap, expected["ppdm"].ap)


def test_pocket_s_vcoco_annotation_is_the_real_pair_list(shared_dir):
    entries = read_json(shared_dir / "data" / "vcoco" / "val_vcoco.json.gz")
    same_annotation(annotation_entries(pocket_vcoco(entries)), entries)


def test_both_are_sources_of_the_builders(tmp_path):
    names = [f"HICO_train2015_{number:08d}.jpg" for number in (1, 2)]
    ground_truth = [
        truth(name, [(1, 1, 40, 40, 1), (5, 9, 30, 31, 62)], [(0, 1, 9)]) for name in names
    ]
    write_images(tmp_path / "images", names)
    path = write_json(tmp_path / "instances_train2015.json", pocket_hico(ground_truth))
    data = {"images": str(tmp_path / "images"), "annotations": str(path)}
    config = config_of(
        tmp_path,
        "hico_det",
        **{f"{split}_{k}": v for split in ("train", "eval") for k, v in data.items()},
    )
    builder = HicoDet.from_config(config.data)
    builder.download_and_prepare()
    first = examples(builder, "train")[0]
    assert first["boxes"].tolist() == [[0, 0, 39, 39], [4, 8, 29, 30]], "it counts from 1"
    assert first["relations"].tolist() == [[0, 1, 8]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["filenames"].pop(), "24 filenames, 25 annotations and 25 sizes"),
        (lambda c: c["annotation"][3].pop("hoi"), "lacks one of the lists boxes_h, boxes_o, hoi"),
        (lambda c: c["annotation"].__setitem__(3, 5), "lacks one of the lists"),
        (lambda c: c["annotation"][3]["hoi"].append(1), "it needs as many of each"),
        (
            lambda c: c["annotation"][3]["hoi"].__setitem__(0, 600),
            "has the hoi 600, which is unknown",
        ),
        (lambda c: c["annotation"][3]["hoi"].__setitem__(0, "a"), "has the hoi 'a', which is unk"),
        (lambda c: c["annotation"][3]["verb"].__setitem__(0, 116), "object and verb are others"),
        (lambda c: c["annotation"][3]["boxes_h"].__setitem__(0, 7), "has the box 7, which is no"),
        (lambda c: c["annotation"][3]["boxes_h"].__setitem__(0, [[0]]), "has the box"),
        (lambda c: c.update(objects=["a", "b"]), "object 'a' is none of the data set's"),
    ],
)
def test_a_bad_annotation_of_pocket_s_is_named(change, message):
    content = pocket_hico(hico_truth(2)[1])
    number = next(i for i, one in enumerate(content["annotation"]) if one["hoi"])
    images = content["annotation"]
    images[3], images[number] = images[number], images[3]
    predictions = [found("a.jpg", [MAN, CUP], [])]
    change(content)
    with pytest.raises(UserError, match=f"the instances.*{message}") as caught:
        hico.evaluate(predictions, content)
    assert "\n" not in str(caught.value)


def test_annotations_are_no_predictions(tmp_path):
    ground_truth = hico_truth()[1]
    path = write_json(tmp_path / "instances.json", pocket_hico(ground_truth))
    with pytest.raises(UserError, match="holds annotations of pocket's layout, no predictions"):
        hico.evaluate(path, ground_truth)


def test_convert_is_a_command_and_replaces_nothing(tmp_path, capsys):
    predictions, _, _ = random_split(0)
    cache = write_pickle(tmp_path / "cache.pkl", vcoco_list(predictions, CacheTemplate))
    arguments = ["convert", f"--input={cache}", f"--output={tmp_path / 'p.json'}"]
    assert commands.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"wrote {tmp_path / 'p.json'}: ")
    assert "note: " in printed
    written = (tmp_path / "p.json").read_text()
    assert json.loads(written)
    (tmp_path / "p.json").write_text("mine")
    assert commands.main(arguments) == 2
    assert "p.json is there already; give another name, or --force" in capsys.readouterr().err
    assert (tmp_path / "p.json").read_text() == "mine"
    assert commands.main([*arguments, "--force"]) == 0
    assert (tmp_path / "p.json").read_text() == written
    assert sorted(os.listdir(tmp_path)) == ["cache.pkl", "p.json"]


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("cache.pkl", "p.txt", "give a name that ends in .json or .jsonl"),
        ("cache.pkl", "no/p.json", "cannot write .*no/p.json"),
        ("no.pkl", "p.json", "cannot read .*no.pkl"),
        ("list.json", "p.json", "list.json: an entry is a dictionary with 'a', not an image"),
        ("nan.json", "p.json", "nan.json is not JSON: NaN is not a JSON number"),
    ],
)
def test_what_cannot_be_converted(tmp_path, source, output, message):
    write_pickle(tmp_path / "cache.pkl", vcoco_list(random_split(0)[0]))
    write_json(tmp_path / "list.json", [{"a": 1}])
    write_json(tmp_path / "nan.json", [found("a.jpg", [(0, 0, float("nan"), 1, 1)], [])])
    with pytest.raises(UserError, match=message):
        convert.convert(tmp_path / source, tmp_path / output)
    assert not (tmp_path / output).exists()


def test_ppdm_s_own_json_comes_through_convert_as_it_is(tmp_path):
    predictions, _ = random_scenes(0)
    path = write_json(tmp_path / "p.json", predictions)
    convert.convert(path, tmp_path / "p.jsonl")
    assert read_json(tmp_path / "p.jsonl") == predictions
    convert.convert(write_json(path, []), tmp_path / "empty.json")
    assert read_json(tmp_path / "empty.json") == []


def test_instances_may_be_several_files(tmp_path, capsys):
    predictions, vsrl, instances = random_split(1)
    expected = vcoco.evaluate(predictions, vsrl, instances).means
    half = len(instances["images"]) // 2
    paths = []
    for number, images in enumerate((instances["images"][:half], instances["images"][half - 1 :])):
        ids = {image["id"] for image in images}
        kept = [a for a in instances["annotations"] if a["image_id"] in ids]
        part = {"images": images, "annotations": kept}
        paths.append(str(write_json(tmp_path / f"instances_{number}.json", part)))
    assert vcoco.evaluate(predictions, vsrl, paths).means == expected
    assert vcoco.evaluate(predictions, vsrl, ",".join(paths)).means == expected
    files_ = {"predictions": predictions, "ground_truth": vsrl}
    flags = [f"--{key}={write_json(tmp_path / f'{key}.json', v)}" for key, v in files_.items()]
    tables = []
    for flag in (
        [f"--instances={paths[0]}, {paths[1]}"],
        [f"--instances={path}" for path in paths],
    ):
        assert vcoco.main([*flags, *flag]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] != ""
    assert vcoco.main([*flags, f"--instances={paths[0]}"]) == 2
    changed = copy.deepcopy(instances)
    changed["annotations"][0]["bbox"] = [0, 0, 5, 5]
    with pytest.raises(UserError, match="two files of instances have the id"):
        vcoco.evaluate(predictions, vsrl, [instances, changed])


def test_names_that_differ_by_their_folder_are_matched_and_said():
    ground_truth = [truth(name, [MAN, CUP], [(0, 1, 1)]) for name in ("val/a.jpg", "val/b.jpg")]
    predictions = [
        found(name, [MAN, CUP], [(0, 1, 1, 0.5)])
        for name in ("/data/images/a.jpg", "images\\b.jpg")
    ]
    result = hico.evaluate(predictions, ground_truth, SMALL)
    assert result["default"].true_positives[0] == 2
    assert any(
        "2 images are matched by their names without folders" in note
        and "'/data/images/a.jpg' with the ground truth's 'val/a.jpg'" in note
        for note in result.notes
    )


@pytest.mark.parametrize(
    ("names", "images"),
    [
        (["a.jpg"], ["x/a.jpg", "y/a.jpg"]),  # two of the ground truth are called so
        (["x/a.jpg", "y/a.jpg"], ["a.jpg"]),  # two predicted ones are
        (["x/a.png"], ["a.jpg"]),
    ],
)
def test_names_that_are_ambiguous_without_folder_stay_unknown(names, images):
    known = {name: number for number, name in enumerate(images)}
    with pytest.raises(UserError, match="is not in the ground truth"):
        number_images(names, known)
    assert number_images(names, known, ignore_unknown=True) == ([None] * len(names), ())


def test_an_image_and_its_namesake_in_a_folder_are_one_image():
    with pytest.raises(UserError, match=r"image 'x/a\.jpg' .* is not in|occurs twice"):
        number_images(["a.jpg", "x/a.jpg"], {"a.jpg": 0})
    assert number_images(["x/a.jpg", "b.jpg"], {"a.jpg": 0, "b.jpg": 1})[0] == [0, 1]


def test_a_file_that_is_not_there_is_left_to_its_reader(tmp_path):
    assert files.head_of(tmp_path / "none") == b""
    with pytest.raises(UserError, match=r"cannot read .*none"):
        hico.evaluate(tmp_path / "none", [truth("a.jpg", [MAN, CUP], [(0, 1, 37)])])
