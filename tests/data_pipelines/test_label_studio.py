"""Exports of Label Studio: what they say, what is left out and counted, and what is refused."""

import copy
import json
import shutil

import pytest
from data_trees import CLASSES, config_of, write_images
from label_studio_exports import (
    annotation,
    of_entries,
    rectangle,
    relation,
    task,
    uploaded,
    write_rendered,
)

import data_pipelines
from data_pipelines.figures_hoi import scenes
from data_pipelines.label_studio import __main__ as command
from data_pipelines.label_studio import addresses, convert
from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import class_list

PERSON = rectangle("p", "person", (8, 6, 20, 40))
DOG = rectangle("d", "dog", (30, 20, 50, 44))


def two(**fields):
    """A person who walks a dog."""
    return annotation(PERSON, DOG, relation("p", "d"), **fields)


def export_of(tmp_path, tasks, classes=CLASSES):
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    return str(tmp_path / "export.json")


def read(tmp_path, *tasks, folders=(), accept_losses=False, classes=CLASSES):
    """(entries, findings) of tasks."""
    export = convert.Export.read(export_of(tmp_path, tasks, classes))
    names = class_list.vocabulary(str(tmp_path / "classes.json"))
    entries = convert.entries(export, names, folders, accept_losses=accept_losses)
    return list(entries), dict(export.findings.counts)


def pairs(entry):
    return [tuple(pair.values()) for pair in entry["hoi_annotation"]]


def error_of(tmp_path, *tasks, **options):
    with pytest.raises(UserError) as caught:
        read(tmp_path, *tasks, **options)
    message = str(caught.value)
    assert "\n" not in message and str(tmp_path / "export.json") in message
    return message


def test_rendered_images_come_back_as_they_were_annotated(tmp_path):
    entries = write_rendered(tmp_path, 12)
    export = convert.Export.read(str(tmp_path / "export.json"))
    names = class_list.vocabulary(str(tmp_path / "classes.json"))
    found = convert.entries(export, names, [str(tmp_path / "photos")])
    assert not export.findings.counts and len(found) == 12
    for one, other in zip(found, entries, strict=True):
        assert one["file_name"] == other["file_name"]
        assert sorted(pairs(one)) == sorted(pairs(other))
        for box, expected in zip(one["annotations"], other["annotations"], strict=True):
            assert box["bbox"] == pytest.approx(expected["bbox"])
            assert box["category_id"] == expected["category_id"]


@pytest.mark.parametrize("with_classes", [True, False])
def test_as_a_data_set(tmp_path, with_classes, capsys):
    entries = write_rendered(tmp_path, 6)
    files = {
        f"{split}_{what}": str(tmp_path / path)
        for split in ("train", "eval")
        for what, path in (("annotations", "export.json"), ("images", "photos"))
    }
    vocabulary = str(tmp_path / "classes.json") * with_classes
    config = config_of(tmp_path, "label_studio", vocabulary=vocabulary, **files)
    dataset = data_pipelines.load_dataset(config.data)
    words = scenes.vocabulary()
    verbs = {words.verbs[words.verb_index(p[2])] for e in entries for p in pairs(e)}
    if with_classes:
        assert dataset.vocabulary.objects == words.objects
    else:
        assert set(dataset.vocabulary.verbs) == verbs
        assert dataset.vocabulary.objects[0] == "person"
    truth = dataset.ground_truth("test")
    assert [e["file_name"] for e in truth] == [e["file_name"] for e in entries]
    assert [len(e["hoi_annotation"]) for e in truth] == [len(e["hoi_annotation"]) for e in entries]
    assert "nothing to report" in capsys.readouterr().err
    again = copy.deepcopy(of_entries(entries, words))
    again[0]["annotations"][0]["result"] = again[0]["annotations"][0]["result"][:1]
    (tmp_path / "export.json").write_text(json.dumps(again))
    dataset = data_pipelines.load_dataset(config.data)
    assert dataset.ground_truth("train")[0]["hoi_annotation"] == []
    assert "export.json, which changed; building it again" in capsys.readouterr().err


def test_a_photo_that_comes_later_is_noticed_under_its_own_name(tmp_path, capsys):
    write_images(tmp_path / "photos", ["a.png", "b.png"])
    (tmp_path / "photos" / "b.png").rename(tmp_path / "b.png")
    path = export_of(tmp_path, [task(n, uploaded(f"{n}.png"), two()) for n in "ab"])
    config = config_of(
        tmp_path, "label_studio", train_annotations=path, train_images=str(tmp_path / "photos"),
        eval_annotations=path, eval_images=str(tmp_path / "photos"),
    )  # fmt: skip
    assert data_pipelines.load_dataset(config.data).num_train == 1
    report = capsys.readouterr().err
    assert "1 x image that is not in the image folder" in report
    assert "tried upload/1/ab12cd34-b.png, 1/ab12cd34-b.png, ab12cd34-b.png, b.png)" in report
    shutil.move(tmp_path / "b.png", tmp_path / "photos" / "b.png")
    assert data_pipelines.load_dataset(config.data).num_train == 2


@pytest.mark.parametrize(
    ("results", "expected", "findings"),
    [
        ([relation("p", "d", direction="right")], [(0, 1, 1)], {}),
        ([relation("d", "p", direction="left")], [(0, 1, 1)], {}),
        ([relation("p", "d", direction="bi")], [(0, 1, 1)], {}),
        ([relation("d", "p", direction="bi")], [(0, 1, 1)], {}),
        ([relation("p", "d", direction=None)], [(0, 1, 1)], {}),
        ([relation("d", "p", direction="right")], [(0, 1, 1)], {"turned_around": 1}),
        ([relation("p", "d", direction="left")], [(0, 1, 1)], {"turned_around": 1}),
        ([relation("p", "q", direction="bi")], [(0, 2, 1), (2, 0, 1)], {}),
        ([relation("p", "q", direction="left")], [(2, 0, 1)], {}),
        ([relation("p", "d", ["walk", "feed"])], [(0, 1, 1), (0, 1, 2)], {}),
        ([relation("p", "d", ["Walk ", "walk"])], [(0, 1, 1), (0, 1, 1)], {}),
        ([relation("p", "d"), relation("p", "gone")], [(0, 1, 1)], {"relation_nowhere": 1}),
        ([relation("p", "d"), relation("p", "p")], [(0, 1, 1)], {"relation_nowhere": 1}),
        ([relation("p", "d"), relation("q", "d", None)], [(0, 1, 1)], {"no_verb": 1}),
        ([relation("p", "d"), relation("q", "d", [])], [(0, 1, 1)], {"no_verb": 1}),
    ],
)
def test_relations(tmp_path, results, expected, findings):
    other = rectangle("q", "Person", (40, 2, 60, 40))
    results = [{k: v for k, v in one.items() if v is not None} for one in results]
    (entry,), found = read(tmp_path, task(1, "a.png", annotation(PERSON, DOG, other, *results)))
    assert pairs(entry) == expected
    assert found == findings


def test_a_relation_between_two_things_is_left_to_the_cleaning(tmp_path):
    cat = rectangle("c", "dog", (1, 1, 9, 9))
    results = annotation(PERSON, DOG, cat, relation("p", "d"), relation("d", "c"))
    (entry,), found = read(tmp_path, task(1, "a.png", results))
    assert pairs(entry) == [(0, 1, 1), (1, 2, 1)] and not found


def test_of_a_single_verb_the_label_may_be_missing(tmp_path):
    one = {**CLASSES, "verbs": ["walk"]}
    results = annotation(PERSON, DOG, relation("p", "d", None))
    (entry,), found = read(tmp_path, task(1, "a.png", results), classes=one)
    assert pairs(entry) == [(0, 1, 1)] and found == {"only_verb": 1}
    message = error_of(tmp_path, task(1, "a.png", results))
    assert "1 of 1 relations have no label" in message and "person to dog" in message
    assert "choose its verb" in message


def test_rectangles_of_separate_labels_and_other_shapes(tmp_path):
    plain = rectangle("d", "x", (30, 20, 50, 44))
    plain = {**plain, "type": "rectangle"}
    del plain["value"]["rectanglelabels"]
    label = {"id": "d", "type": "labels", "value": {**plain["value"], "labels": ["dog"]}}
    choice = {"id": "d", "type": "choices", "value": {**plain["value"], "choices": ["big"]}}
    polygon = {
        "id": "g", "type": "polygonlabels",
        "value": {"points": [[1, 1], [2, 2], [3, 1]], "polygonlabels": ["dog"]},
    }  # fmt: skip
    brush = {"id": "b", "type": "brushlabels", "value": {"rle": [], "brushlabels": ["dog"]}}
    bare = {**plain, "id": "n"}
    both = rectangle("b2", "dog", (1, 1, 5, 5), rectanglelabels=["dog", "person"])
    results = [PERSON, plain, label, choice, polygon, brush, bare, both, relation("p", "d")]
    results += [relation("p", "g"), relation("p", "b2")]
    (entry,), found = read(tmp_path, task(1, "a.png", annotation(*results)))
    assert [box["category_id"] for box in entry["annotations"]] == [1, 2, 2, 1]
    assert entry["annotations"][1]["bbox"] == pytest.approx([30, 20, 50, 44])
    assert pairs(entry) == [(0, 1, 1), (0, 2, 1), (0, 3, 1)]
    assert found == {"other_shape": 2, "no_label": 1, "many_labels": 1, "relation_nowhere": 1}


@pytest.mark.parametrize("rotation", [12.5, -3, 90, "a", float("nan")])
def test_a_rotated_rectangle_is_refused_with_its_place(tmp_path, rotation):
    turned = rectangle("Dx_1", "dog", (30, 20, 50, 44), rotation=rotation)
    tasks = [task(7, "a.png", annotation(PERSON, DOG, turned, relation("p", "d")))]
    message = error_of(tmp_path, *tasks)
    for part in ("rotated", "task 7", "region Dx_1 (dog)", str(rotation), "rotation to 0"):
        assert part in message
    (entry,), found = read(tmp_path, *tasks, accept_losses=True)
    assert len(entry["annotations"]) == 2 and found == {"rotated": 1}


def test_a_whole_turn_and_a_turned_view_are_none(tmp_path):
    whole = rectangle("d", "dog", (30, 20, 50, 44), rotation=360.0) | {"image_rotation": 90}
    (entry,), found = read(tmp_path, task(1, "a", annotation(PERSON, whole, relation("p", "d"))))
    assert entry["annotations"][1]["bbox"] == pytest.approx([30, 20, 50, 44]) and not found


@pytest.mark.parametrize(
    ("label", "verbs", "parts"),
    [
        ("Dogs", ["walk"], ["rectangles with labels", "'Dogs' (1 x, is 'dog' meant?)"]),
        ("zebra", ["walk"], ["'zebra' (1 x)", "task 1", "add them to the class list"]),
        (
            "dog",
            ["walking"],
            ["relations with labels", "'walking' (1 x, is 'walk' meant?)", "person to dog"],
        ),
    ],
)
def test_labels_that_the_class_list_lacks_are_named(tmp_path, label, verbs, parts):
    box = rectangle("x", label, (30, 20, 50, 44))
    tasks = [
        task(
            1, "a.png", annotation(PERSON, DOG, box, relation("p", "d"), relation("p", "x", verbs))
        )
    ]
    message = error_of(tmp_path, *tasks)
    assert all(part in message for part in parts), message
    (entry,), found = read(tmp_path, *tasks, accept_losses=True)
    assert pairs(entry) == [(0, 1, 1)]
    lost = {"unknown_object": 1, "relation_lost": 1}
    assert found == ({"unknown_verb": 1} if label == "dog" else lost)


def test_names_are_compared_without_their_spelling(tmp_path):
    classes = {"objects": ["person", "cell_phone"], "verbs": ["talk_on", "Talk on "]}
    phone = rectangle("d", "Cell Phone", (30, 20, 50, 44))
    tasks = [task(1, "a.png", annotation(PERSON, phone, relation("p", "d", ["talk_on"])))]
    (entry,), _ = read(tmp_path, *tasks, classes=classes)
    assert pairs(entry) == [(0, 1, 1)]
    tasks[0]["annotations"][0]["result"][2]["labels"] = ["TALK ON"]  # which of the two?
    assert "lacks, 'TALK ON'" in error_of(tmp_path, *tasks, classes=classes)


def boxes_of(tmp_path, *annotations):
    (entry,), found = read(tmp_path, task(1, "a.png", *annotations))
    return len(entry["annotations"]), found


def test_of_several_annotations_the_ground_truth_or_the_newest_counts(tmp_path):
    bare = [PERSON, relation("p", "d")]
    late, early = "2026-11-26T12:00:00Z", "2026-11-26T13:30:00+02:00"
    one, three = annotation(*bare, updated_at=early), two(updated_at=late)
    assert boxes_of(tmp_path, one, three) == (2, {"several": 1})
    assert boxes_of(tmp_path, three, one) == (2, {"several": 1})
    marked = annotation(*bare, updated_at=early, ground_truth=True)
    assert boxes_of(tmp_path, marked, three)[0] == 1
    undated = {"updated_at": None, "created_at": "soon"}
    assert boxes_of(tmp_path, three, annotation(*bare, **undated))[0] == 2
    assert boxes_of(tmp_path, two(**undated), annotation(*bare, **undated))[0] == 1  # the last
    skipped = two(was_cancelled=True, updated_at="2027-01-01T00:00:00Z")
    assert boxes_of(tmp_path, one, skipped) == (1, {"relation_nowhere": 1})


def test_tasks_without_an_annotation_are_left_out_and_counted(tmp_path):
    tasks = [
        task(1, "a.png", two()),
        task(2, "b.png", two(was_cancelled=True)),
        task(3, "c.png", drafts=[{"result": [PERSON]}]),
        task(4, "d.png", predictions=[{"result": [PERSON]}]),
        task(5, "e.png", annotation()),  # an image without people or objects
        task(6, "a.png", two(updated_at="2027-01-01T00:00:00Z")),  # the same image again
    ]
    entries, found = read(tmp_path, *tasks)
    assert [entry["file_name"] for entry in entries] == ["a.png", "e.png"]
    assert found == {"skipped": 1, "unlabeled": 2, "several": 1}
    message = error_of(tmp_path, *tasks[1:4])
    for part in ("of 3 tasks 2 are not annotated and 1 were skipped", "1 have drafts", "submitted"):
        assert part in message


def test_pages_of_a_task_are_images_of_their_own(tmp_path):
    second = [{**one, "id": one["id"] + "2", "item_index": 1} for one in (PERSON, DOG)]
    first = [{**one, "item_index": 0} for one in (PERSON, DOG)]
    results = annotation(*first, *second, relation("p2", "d2"))
    tasks = task(1, ["a.png", "b.png"], results)
    tasks["data"] = {"pages": tasks["data"]["image"], "note": "two pages"}
    entries, found = read(tmp_path, tasks)
    assert [(e["file_name"], len(e["annotations"]), pairs(e)) for e in entries] == [
        ("a.png", 2, []),
        ("b.png", 2, [(0, 1, 1)]),
    ]
    assert found == {"relation_nowhere": 1}  # on the first page


@pytest.mark.parametrize("page", [2, -1, "0", True, 0.5, [], {}])
def test_a_page_that_the_task_does_not_have_is_named(tmp_path, page):
    odd = copy.deepcopy(two())
    odd["result"][1]["item_index"] = page
    message = error_of(tmp_path, task(1, "a.png", two()), task(2, "b.png", odd))
    assert f"task 2, result 1: its 'item_index' is {page!r}; the task has one image" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "empty list"),
        ({}, "not a list of Label Studio's tasks"),
        ("text", "not a list of Label Studio's tasks"),
        (task(1, "a.png", two()), "put it into a list"),
        ({"images": [], "annotations": [], "categories": []}, "COCO's format"),
        ([{"file_name": "a.png", "annotations": [], "hoi_annotation": []}], "data.name=json reads"),
        ([{"id": 1, "image": "a", "label": [], "annotation_id": 3}], "JSON-MIN"),
        ([{"id": 1, "image": "a"}], "a list 'annotations': its keys are 'id', 'image'"),
        ([{}], "a list 'annotations': it is empty"),
        ([{"id": 1, "data": None, "annotations": []}], "its 'data' is None"),
        ([{"id": 1, "data": {}, "annotations": {}}], "its 'annotations' are {}"),
        ([7], "item 0 is not a task but 7"),
        ([task(1, "a.png", 12)], "their ids alone"),
        ([task(1, "a.png", {**two(), "result": {"x": 1}})], "'result' is not a list"),
        ([task(1, "a.png", {**two(), "result": [1]})], "task 1 (a.png), result 0 is not"),
        ([task(1, "a.png", annotation())], "no rectangle with a label in 1 annotated images"),
        ([task(1, "a.png", annotation(PERSON, DOG))], "2 rectangles but no relation"),
        ([{**task(1, "", two()), "data": {"a": "x", "b": "y"}}], "which field of its data"),
        ([{**task(1, "", two()), "data": {}}], "which field of its data"),
        ([task(1, "data:image/png;base64,AAAA", two())], "only images in files"),
        ([task(1, "http://", two())], "task 1: its image 'http://' has no file name"),
    ],
)
def test_what_is_no_usable_export_is_named(tmp_path, content, message):
    (tmp_path / "export.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"export\.json") as caught:
        convert.Export.read(str(tmp_path / "export.json"))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "field", "values", "part"),
    [
        (0, "id", [[], {}, 1.5, True], "result 0 (rectanglelabels): its 'id'"),
        (0, "type", [None, "", 5, [], {}], "result 0: its 'type'"),
        (0, "value", [None, 5, "x", []], "result 0 (rectanglelabels, region p): its 'value'"),
        (
            0,
            "value.rectanglelabels",
            [5, True, {}, [None], [5]],
            "region p): its 'rectanglelabels'",
        ),
        (2, "from_id", [[], {}, 1.5, False], "result 2 (relation): its 'from_id'"),
        (2, "to_id", [["d"], {"id": "d"}], "result 2 (relation): its 'to_id'"),
        (2, "direction", ["up", "", 5, [], {}, True], "(relation p to d): its direction"),
        (2, "labels", [5, True, {}, [None], [5], [["walk"]]], "(relation p to d): its 'labels'"),
    ],
)
def test_what_label_studio_never_writes_is_named(tmp_path, number, field, values, part):
    for value in values:
        odd = copy.deepcopy(two())
        *folder, key = field.split(".")
        place = odd["result"][number]
        for name in folder:
            place = place[name]
        place[key] = value
        message = error_of(tmp_path, task(1, "a.png", two()), task(2, "b.png", odd))
        assert "task 2 (b.png), result" in message and part in message


@pytest.mark.parametrize("key", ["id", "value.rectanglelabels", "from_id", "direction", "labels"])
def test_nothing_where_something_may_be_missing(tmp_path, key):
    """As if it was not there, which is counted where anything is lost."""
    number = 2 if key in ("from_id", "direction", "labels") else 0
    for value in (None, "missing"):
        odd = copy.deepcopy(two())
        place = odd["result"][number]
        if "." in key:
            place = place["value"]
        place.pop(key.rpartition(".")[2])
        if value is None:
            place[key.rpartition(".")[2]] = None
        entries, found = read(tmp_path, task(1, "a.png", two()), task(2, "b.png", odd))
        assert len(entries) == 2 and (pairs(entries[1]) == [(0, 1, 1)]) == (key == "direction")
        assert bool(found) == (key != "direction")


def test_regions_without_an_id_stay_and_a_common_one_is_refused(tmp_path):
    nameless = annotation(*({**region, "id": None} for region in (PERSON, DOG)), *two()["result"])
    (entry,), _ = read(tmp_path, task(1, "a.png", nameless))
    assert len(entry["annotations"]) == 4
    same = annotation(PERSON, {**DOG, "id": "p"}, relation("p", "p"))
    message = error_of(tmp_path, task(1, "a.png", two()), task(2, "b.png", same))
    assert "task 2 (b.png): two rectangles have the id 'p'" in message


def test_relations_of_nobody_are_refused(tmp_path):
    dogs = annotation({**PERSON, "value": {**PERSON["value"], "rectanglelabels": ["dog"]}}, DOG,
                      relation("p", "d"))  # fmt: skip
    message = error_of(tmp_path, task(1, "a.png", dogs))
    assert "none of 1 relations has a person at one end" in message
    assert "task 1 (a.png), relation p to d (dog to dog)" in message
    assert len(read(tmp_path, task(1, "a.png", dogs), task(2, "b.png", two()))[0]) == 2


def test_fractions_in_place_of_percent_are_refused(tmp_path):
    """They are boxes too, specks in the corner of the image."""
    tasks = copy.deepcopy([task(1, "a.png", two()), task(2, "b.png", two())])
    for region in (r for one in tasks for a in one["annotations"] for r in a["result"]):
        if "value" in region:
            value = region["value"]
            value |= {side: value[side] / 100 for side in ("x", "y", "width", "height")}
    message = error_of(tmp_path, *tasks)
    assert "of 4 of 4 rectangles are all within 0..1" in message
    assert "multiply them by 100" in message


@pytest.mark.parametrize(
    "odd",
    [{"width": 0}, {"height": -5}, {"x": 100}, {"y": -300}, {"x": None}, {"width": "wide"},
     {"height": float("nan")}, {"x": float("inf")}, {"width": [1]}, {"x": 640, "width": 200}],
)  # fmt: skip
def test_rectangles_of_which_most_are_no_boxes_are_refused(tmp_path, odd):
    boxes = [{**region, "value": {**region["value"], **odd}} for region in (PERSON, DOG)]
    bad = annotation(*boxes, relation("p", "d"))
    message = error_of(tmp_path, task(1, "a.png", bad), task(2, "b.png", annotation(DOG)))
    assert "2 of 3 rectangles have no area in their image" in message
    assert "task 1 (a.png), region p (person) with x, y, width, height" in message
    assert len(read(tmp_path, task(1, "a.png", bad), task(2, "b.png", two()))[0]) == 2


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("http://[b/a b.png", "b/a b.png"),
        ("/data/local-files/?d=photos/b/a%20b.png", "b/a b.png"),
        ("/data/local-files/?d=photos%2Fb%2Fa b.png", "b/a b.png"),
        ("http://localhost:8080/data/local-files/?d=b/a b.png", "b/a b.png"),
        ("/data/local-files/?d=C:\\photos\\b\\a b.png", "b/a b.png"),
        ("b/a b.png", "b/a b.png"),
        ("C:\\photos\\b\\a b.png", "b/a b.png"),
        ("s3://bucket/deep/b/a%20b.png", "b/a b.png"),
        ("https://host/b/a%20b.png?X-Amz-Signature=1#x", "b/a b.png"),
        ("/data/upload/1/ab12cd34-c.png", "ab12cd34-c.png"),
        ("/data/upload/1/ab12cd34-d.png", "d.png"),
        ("http://host/data/upload/3/ab12cd34-d.png", "d.png"),
        ("/data/upload/1/ab12cd34-a_b.png", "b/a b.png"),  # spaces are replaced by an upload
        ("/data/upload/1/ab12cd34-e_1.png", "e (1).png"),
        ("../../d.png", "d.png"),
        ("ab12cd34-d.png", None),  # was not uploaded
        ("f.png", None),  # two are called so
        ("missing.png", None),
    ],
)
def test_images_are_found_by_what_label_studio_calls_them(tmp_path, address, name):
    names = ["b/a b.png", "ab12cd34-c.png", "c.png", "d.png", "e (1).png", "g/f.png", "h/f.png"]
    for path in names:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    assert addresses.Finder([str(tmp_path)]).find(address) == name


def test_two_images_that_would_be_one_file_are_refused(tmp_path):
    write_images(tmp_path / "photos", ["a.png"])
    folders = [str(tmp_path / "photos")]
    tasks = [task(n, f"/data/upload/1/ab12cd3{n}-a.png", two()) for n in (1, 2)]
    with pytest.raises(UserError, match=r"task 1 .* and task 2 .* both lead to a.png"):
        read(tmp_path, *tasks, folders=folders)
    gone = [task(1, uploaded("b.png"), two())]
    message = error_of(tmp_path, *gone, folders=folders)
    assert "none of the 1 images" in message and "ab12cd34-b.png, b.png" in message


def test_a_size_that_the_export_lacks_is_the_images(tmp_path):
    write_images(tmp_path / "photos", ["a.png"])
    bare = json.loads(json.dumps(two()))
    for result in bare["result"]:
        result.pop("original_width", None)
    (entry,), found = read(tmp_path, task(1, "a.png", bare), folders=[str(tmp_path / "photos")])
    assert (entry["width"], entry["height"]) == (64, 48) and not found
    assert entry["annotations"][0]["bbox"] == pytest.approx([8, 6, 20, 40])
    entries, found = read(tmp_path, task(1, "a.png", bare))
    assert entries == [] and found == {"no_size": 1}


def test_numbers_that_are_none_are_left_to_the_cleaning(tmp_path):
    odd = rectangle("o", "dog", (1, 1, 5, 5), x="left", width=None)
    (entry,), _ = read(tmp_path, task(1, "a.png", annotation(PERSON, DOG, odd, relation("p", "d"))))
    assert entry["annotations"][2]["bbox"][0] == "left"


def test_without_a_class_list_the_labels_are_the_classes(tmp_path):
    results = [rectangle(i, name, (1, 1, 9, 9)) for i, name in enumerate(["Dog", "PERSON", "dog"])]
    path = export_of(
        tmp_path, [task(1, "a", annotation(*results, relation(1, 0, ["pet", "Feed"])))]
    )
    names = convert.names_of([convert.Export.read(path)])
    assert (names.objects, names.verbs) == (("person", "Dog"), ("Feed", "pet"))
    results = [rectangle("p", "human", (1, 1, 9, 9)), DOG, relation("p", "d")]
    path = export_of(tmp_path, [task(1, "a.png", annotation(*results))])
    with pytest.raises(UserError, match="rename 'human' to 'person'"):
        convert.names_of([convert.Export.read(path)])


def test_the_command_writes_ppdms_json(tmp_path, capsys):
    entries = write_rendered(tmp_path, 5)
    given = [
        f"--input={tmp_path / 'export.json'}", f"--images={tmp_path / 'photos'}",
        f"--output={tmp_path / 'train.json'}",
    ]  # fmt: skip
    assert command.main(given) == 0
    assert "train.json: 5 images" in capsys.readouterr().out
    config = config_of(
        tmp_path, "json", vocabulary=str(tmp_path / "train.classes.json"),
        train_annotations=str(tmp_path / "train.json"), train_images=str(tmp_path / "photos"),
        eval_annotations=str(tmp_path / "train.json"), eval_images=str(tmp_path / "photos"),
    )  # fmt: skip
    truth = data_pipelines.load_dataset(config.data).ground_truth("train")
    assert [len(e["hoi_annotation"]) for e in truth] == [len(e["hoi_annotation"]) for e in entries]
    assert command.main(given) == 2
    assert "train.json is there already" in capsys.readouterr().err
    classes = f"--classes={tmp_path / 'classes.json'}"
    assert command.main([*given, classes, "--force"]) == 0
    assert [pairs(e) for e in io.read_json(tmp_path / "train.json")] == [pairs(e) for e in entries]
    for odd in ("--input=gone.json", "--output=train.txt", "--images=gone"):
        assert command.main([*given, odd, "--force"]) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_the_json_reader_knows_an_export(tmp_path):
    path = export_of(tmp_path, [task(1, "a.png", two())])
    config = config_of(tmp_path, "json", vocabulary=str(tmp_path / "classes.json"))
    config.data.update(train_annotations=path, train_images=str(tmp_path))
    with pytest.raises(UserError, match=r"data\.name=label_studio reads"):
        data_pipelines.load_dataset(config.data)
