"""Known Object's images: by HICO-DET's own annotation, or by the annotated pairs."""

import json

import numpy as np
import pytest
from evaluation_scenes import found, truth
from scipy.io import savemat

from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import hico

HICO = vocabularies.load("hico_det")
MAN, BIKE = (0, 0, 40, 40, 1), (50, 0, 90, 40, 2)
RIDE = next(
    index
    for index, (verb, obj) in enumerate(HICO.classes)
    if (HICO.verbs[verb], HICO.objects[obj]) == ("ride", "bicycle")
)
RIDE_ID = HICO.verb_ids[HICO.classes[RIDE][0]]
NAMES = [f"HICO_test2015_0000000{i}.jpg" for i in range(1, 4)]
# Only the first image has a pair. Nobody found a box in the second one, but somebody washes a
# bicycle there; in the third there is no bicycle.
TRUTH = [truth(NAMES[0], [MAN, BIKE], [(0, 1, RIDE_ID)]), *(truth(n, [], []) for n in NAMES[1:])]
PREDICTIONS = [
    found(NAMES[0], [MAN, BIKE], [(0, 1, RIDE_ID, 0.5)]),
    found(NAMES[1], [MAN, BIKE], [(0, 1, RIDE_ID, 0.9)]),
    found(NAMES[2], [MAN, BIKE], [(0, 1, RIDE_ID, 0.8)]),
]
WASH = next(
    index
    for index, (verb, obj) in enumerate(HICO.classes)
    if (HICO.verbs[verb], HICO.objects[obj]) == ("wash", "bicycle")
)


def write_anno(path):
    values = np.full((600, 3), -1.0)
    values[RIDE, 0] = values[WASH, 1] = 1
    values[RIDE, 2] = np.nan
    savemat(path, {"anno_test": values, "list_test": np.array(NAMES, object)})


def structs(fields, *rows):
    """MATLAB's struct array, as SciPy writes it."""
    return np.array([tuple(row) for row in rows], [(name, object) for name in fields])


def write_anno_bbox(path):
    hois = [[(RIDE + 1, 0)], [(WASH + 1, 1), (WASH + 1, 1)]]
    rows = [
        (name, structs(("id", "invis"), *hoi)) for name, hoi in zip(NAMES[:2], hois, strict=True)
    ]
    savemat(path, {"bbox_test": structs(("filename", "hoi"), *rows)})


@pytest.mark.parametrize("write", [write_anno, write_anno_bbox])
@pytest.mark.parametrize("protocol", ["official", "no_frills"])
def test_an_image_counts_by_its_own_annotation_also_without_a_box(tmp_path, write, protocol):
    plain = hico.evaluate(PREDICTIONS, TRUTH, protocol=protocol)
    assert plain["default"].ap[RIDE] == pytest.approx(1 / 3)
    assert plain["known_object"].ap[RIDE] == pytest.approx(1.0)
    # Only with HICO-DET's own rule is anything else expected.
    told = any("those of its annotated pairs" in note for note in plain.notes)
    assert told == (protocol == "official")
    write(tmp_path / "anno.mat")
    known = hico.evaluate(
        PREDICTIONS, TRUTH, protocol=protocol, known_objects=tmp_path / "anno.mat"
    )
    assert known["default"].ap[RIDE] == pytest.approx(1 / 3)
    assert known["known_object"].ap[RIDE] == pytest.approx(1 / 2)  # second of two images
    assert "anno.mat (" in known.notes[-1]


def test_what_is_no_such_file_is_one_line(tmp_path, capsys):
    for name, content in (("p.json", PREDICTIONS), ("g.json", TRUTH)):
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "text.mat").write_text("no matrix")
    savemat(tmp_path / "other.mat", {"x": np.zeros(3)})
    savemat(
        tmp_path / "strangers.mat",
        {"anno_test": np.ones((600, 1)), "list_test": np.array(["a.jpg"], object)},
    )
    write_anno(tmp_path / "anno.mat")
    damaged = bytearray((tmp_path / "anno.mat").read_bytes())
    damaged[140:160] = bytes(20)
    (tmp_path / "damaged.mat").write_bytes(damaged)
    files = [f"--predictions={tmp_path}/p.json", f"--ground_truth={tmp_path}/g.json"]
    for name, words in (
        ("nowhere.mat", "there is no file"),
        ("text.mat", "can't be read as anno.mat"),
        ("other.mat", "neither HICO-DET's anno.mat nor"),
        ("strangers.mat", "none of the 3 images"),
        ("damaged.mat", "damaged.mat"),
    ):
        assert hico.main([*files, f"--known_objects={tmp_path}/{name}"]) == 2
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1 and words in error
    figures = vocabularies.load("figures_hoi")
    with pytest.raises(UserError, match="600 classes"):
        hico.evaluate([], TRUTH[1:], figures, known_objects=tmp_path / "anno.mat")
