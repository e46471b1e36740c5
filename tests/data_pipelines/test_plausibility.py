"""Files that say something else than they are read as, and the cause that is named."""

import copy
import dataclasses

import numpy as np
import pytest

from data_pipelines import plausibility
from data_pipelines.statistics import Statistics
from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError

HICO = vocabularies.load("hico_det")
OWN = dataclasses.replace(HICO, classes=(), rare=None)  # whose classes are computed
SIZE = (640, 480)


def entries_of(number=40, *, sized=True, seed=0):
    """Images with a person, an object and a pair of a class."""
    generator = np.random.default_rng(seed)
    entries = []
    for index in range(number):
        first = generator.uniform(0, 0.6, (2, 2)) * SIZE
        corners = np.c_[first, first + generator.uniform(0.1, 0.4, (2, 2)) * SIZE].round(1)
        verb, obj = HICO.classes[generator.integers(600)]
        ids = HICO.object_ids[0], HICO.object_ids[obj]
        boxes = [
            {"bbox": box, "category_id": category}
            for box, category in zip(corners.tolist(), ids, strict=True)
        ]
        pair = {"subject_id": 0, "object_id": 1, "category_id": HICO.verb_ids[verb]}
        size = dict(zip(("width", "height"), SIZE, strict=True)) if sized else {}
        entries.append(
            {"file_name": f"{index}.jpg", "annotations": boxes, "hoi_annotation": [pair], **size}
        )
    return entries


def changed(entries, *, box=None, category=None, pair=None):
    """The entries with another format: functions of a bbox, an object id and a relation."""
    entries = copy.deepcopy(entries)
    for entry in entries:
        for one in entry["annotations"]:
            one["bbox"] = box(*one["bbox"]) if box else one["bbox"]
            one["category_id"] = category(one["category_id"]) if category else one["category_id"]
        if pair:
            entry["hoi_annotation"] = [pair(**relation) for relation in entry["hoi_annotation"]]
    return entries


def check(entries, vocabulary=HICO, **options):
    return plausibility.check(entries, vocabulary, "f.json", **options)


def error_of(entries, vocabulary=HICO, **options):
    with pytest.raises(UserError) as caught:
        check(entries, vocabulary, **options)
    message = str(caught.value)
    assert message.startswith("f.json: ") and "\n" not in message
    return message


@pytest.mark.parametrize("vocabulary", [HICO, OWN])
@pytest.mark.parametrize("sized", [True, False])
def test_what_is_right_passes_with_some_dirt(sized, vocabulary):
    entries = entries_of(sized=sized)
    for number in (3, 4):
        entries[number]["annotations"][0]["bbox"] = [50, 60, 10, 5]
        entries[number]["hoi_annotation"][0]["object_id"] = 7
    entries[5]["annotations"][1]["category_id"] = "kite"
    entries += [None, {"file_name": 7}, {"file_name": "z.jpg"}]
    assert check(entries, vocabulary).verbs is None


W, H = SIZE
FORMATS = {
    "x, y, width, height": lambda a, b, c, d: [a, b, c - a, d - b],
    "center x, center y, width, height": lambda a, b, c, d: [
        (a + c) / 2,
        (b + d) / 2,
        c - a,
        d - b,
    ],
    "y1, x1, y2, x2": lambda a, b, c, d: [b, a, d, c],
    "y, x, height, width": lambda a, b, c, d: [b, a, d - b, c - a],
    "x1, x2, y1, y2": lambda a, b, c, d: [a, c, b, d],
    "x2, y2, x1, y1": lambda a, b, c, d: [c, d, a, b],
    "x1 + x2, y1 + y2 (converted twice)": lambda a, b, c, d: [a, b, a + c, b + d],
    "thousandths": lambda a, b, c, d: [1000 * a / W, 1000 * b / H, 1000 * c / W, 1000 * d / H],
    "were divided by": lambda a, b, c, d: [a / W, b / H, c / W, d / H],
    "percent": lambda a, b, c, d: [100 * a / W, 100 * b / H, 100 * c / W, 100 * d / H],
}


@pytest.mark.parametrize("name", FORMATS)
def test_boxes_in_another_format_are_an_error_that_names_it(name):
    message = error_of(changed(entries_of(), box=FORMATS[name]))
    assert name in message
    assert "x1, y1, x2, y2 in pixels" in message


def test_boxes_of_which_most_reach_beyond_their_image_are_refused():
    """As those of photos that were made smaller since: cut to the image they would be wrong."""
    entries = changed(entries_of(), box=lambda *box: [2.2 * side for side in box])
    message = error_of(entries)
    assert "reach beyond their image (was it resized" in message
    assert "thousandths" not in message and "accept_losses" in message
    check(entries, accept_losses=True)


def test_exchanged_width_and_height_are_named_beside_exchanged_axes():
    entries = entries_of()
    for entry in entries:
        entry["width"], entry["height"] = entry["height"], entry["width"]
    assert "width and height of the images exchanged?" in error_of(entries)


@pytest.mark.parametrize("name", ["x, y, width, height", "x2, y2, x1, y1", "were divided by"])
def test_some_formats_show_without_any_size_of_images(name):
    entries = changed(entries_of(sized=False), box=FORMATS[name])
    assert name in error_of(entries)


@pytest.mark.parametrize("name", ["y1, x1, y2, x2", "thousandths", "percent"])
def test_others_show_once_the_images_have_been_read(name):
    entries = changed(entries_of(sized=False), box=FORMATS[name])
    check(entries)
    statistics = Statistics()
    statistics.add(np.array([0, 1]), np.array([[0, 1, 0]]))
    sizes = {entry["file_name"]: SIZE for entry in entries}
    with pytest.raises(UserError, match=rf"^split: .*{name}"):
        plausibility.check_built(entries, statistics, "split", sizes, trained=True)


def pointing(swap, start):
    """A change of relations: subject and object exchanged, indices from `start`."""

    def change(subject_id, object_id, **rest):
        ends = (object_id, subject_id) if swap else (subject_id, object_id)
        return {"subject_id": ends[0] + start, "object_id": ends[1] + start, **rest}

    return change


@pytest.mark.parametrize("vocabulary", [HICO, OWN])
@pytest.mark.parametrize(
    ("swap", "start", "cause"),
    [
        (True, 0, "are exchanged"),
        (False, 1, "count the entry's boxes from 1, not 0"),
        (True, 1, "are exchanged and count the entry's boxes from 1, not 0"),
    ],
)
def test_relations_that_point_otherwise_are_an_error_that_names_how(swap, start, cause, vocabulary):
    assert cause in error_of(changed(entries_of(), pair=pointing(swap, start)), vocabulary)


def test_relations_that_point_at_ids_of_boxes_are_named():
    entries = entries_of()
    for index, entry in enumerate(entries):
        for number, box in enumerate(entry["annotations"]):
            box["id"] = 1000 + 2 * index + number
        entry["hoi_annotation"][0] |= {
            "subject_id": 1000 + 2 * index,
            "object_id": 1001 + 2 * index,
        }
    assert "the boxes' own 'id', not indices" in error_of(entries)


@pytest.mark.parametrize("vocabulary", [HICO, OWN])
@pytest.mark.parametrize(
    ("category", "cause"),
    [
        (HICO.object_ids.index, "object ids are 0 to 79 in the vocabulary's order"),
        (lambda number: number - 1, "object ids are"),
    ],
)
def test_object_ids_from_zero_are_named(category, cause, vocabulary):
    """The person's id is unknown then, so that nobody is left who acts."""
    message = error_of(changed(entries_of(), category=category), vocabulary)
    assert cause in message and "accept_losses" not in message


def test_numberings_that_only_the_classes_tell():
    entries = changed(entries_of(), category=lambda number: HICO.object_ids.index(number) + 1)
    assert "object ids are 1 to 80" in error_of(entries)
    shifted = changed(
        entries_of(), pair=lambda category_id, **r: r | {"category_id": category_id % 117}
    )
    assert "verb ids are 0 to 116" in error_of(
        changed(entries_of(), pair=lambda category_id, **r: r | {"category_id": category_id - 1})
    )
    check(shifted[:3] + entries_of())


def test_names_where_ids_are_expected():
    names = dict(zip(HICO.object_ids, HICO.objects, strict=True))
    message = error_of(changed(entries_of(), category=names.get))
    assert "are names such as 'person'" in message and "1 (person), 2 (bicycle)" in message
    verbs = changed(entries_of(), pair=lambda category_id, **r: r | {"category_id": "ride"})
    assert "'hoi_annotation' are names such as 'ride'" in error_of(verbs)


def test_what_is_neither_a_box_nor_an_index_is_shown():
    corners = changed(entries_of(), box=lambda a, b, c, d: [[a, b], [c, d]])
    assert "80 are not four finite numbers but like [[" in error_of(corners)
    texts = changed(entries_of(), box=lambda *box: list(map(str, box)))
    assert "are not four finite numbers but like ['" in error_of(texts)
    names = changed(entries_of(), pair=lambda **r: r | {"object_id": "bicycle"})
    assert "40 point at boxes that are not there" in error_of(names)


def test_most_lost_is_an_error_that_accept_losses_lets_through():
    entries = entries_of()
    for entry in entries[:21]:
        entry["hoi_annotation"][0]["object_id"] = 5
    message = error_of(entries)
    assert "21 point at boxes that are not there; only 19 can be trained on" in message
    assert "--config.data.accept_losses=True" in message
    check(entries, accept_losses=True)
    unknown = entries_of()
    for entry in unknown:
        entry["annotations"] += [{"bbox": [1, 2, 30, 40], "category_id": 91}] * 3
    assert "120 have a category_id that 'hico_det' doesn't have (91)" in error_of(unknown)
    check(unknown, accept_losses=True)


def test_nothing_left_is_an_error_even_so():
    flat = changed(entries_of(), box=lambda a, b, c, d: [a, b, a, b])
    assert "40 have no area" in error_of(flat[:20], accept_losses=True)
    nowhere = changed(entries_of(), pair=lambda **r: r | {"object_id": 9})
    assert "40 point at boxes that are not there" in error_of(nowhere, accept_losses=True)
    sizes = {f"{index}.jpg": SIZE for index in range(40)}
    with pytest.raises(UserError, match="none is left"):
        plausibility.check_built(entries_of(), Statistics(), "split", sizes, trained=False)
    bare = changed(entries_of(), pair=lambda **r: r | {"object_id": -1})
    plausibility.check_built(bare, Statistics(), "split", sizes, trained=False)
    with pytest.raises(UserError, match="of 0 relations with an object"):
        plausibility.check_built(bare, Statistics(), "split", sizes, trained=True)


def test_one_odd_entry_of_a_small_file_is_no_other_format():
    entries = entries_of(3)
    entries[0]["annotations"].append({"bbox": [300, 200, 20, 30], "category_id": 1})
    entries[1]["hoi_annotation"].append({"subject_id": 1, "object_id": 0, "category_id": 1})
    check(entries)


def test_v_coco_in_vsrls_order_is_converted():
    v_coco = vocabularies.load("v_coco")
    entry = entries_of(1)[0]
    entry["annotations"][1]["category_id"] = 2
    entry["hoi_annotation"] = [{"subject_id": 0, "object_id": 1, "category_id": "3", "x": 1}]
    entry["hoi_annotation"] += [{"subject_id": 0, "object_id": -1, "category_id": 4}, None]
    numbering = check([entry], v_coco)
    assert "VSRL's order" in numbering.note
    (converted,) = plausibility.renumbered([entry], numbering)
    assert converted["hoi_annotation"] == [
        {"subject_id": 0, "object_id": 1, "category_id": 5, "x": 1},  # ride a bicycle
        {"subject_id": 0, "object_id": -1, "category_id": 3},  # walk
        None,
    ]
    assert entry["hoi_annotation"][0]["category_id"] == "3"  # the caller's entry is left alone
