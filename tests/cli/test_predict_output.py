"""What --mode=predict leaves: whole files only, none of an earlier run, for the evaluators."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from subprocesses import REPOSITORY, environment
from tiny import VOCABULARY, make_run

from ggnet_jax.cli import predict as prediction
from ggnet_jax.cli.image_paths import drawing_names, find_images
from ggnet_jax.cli.predict import predict
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import hico
from ggnet_jax.inference import geometry
from ggnet_jax.inference.detector import Detector


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def detector(run):
    return Detector.load(run, explained=prediction.HEATMAPS)


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch, detector):
    monkeypatch.setattr(prediction.Detector, "load", lambda *_, **__: detector)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(("a.png", "b.png", "c.png")):
        noise = np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(noise).save(folder / name)
    return folder


def lines_of(folder):
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def test_lines_name_their_drawings(run, photos, tmp_path):
    assert predict(run, photos, tmp_path / "out", threshold=0.0) == 0
    for line in lines_of(tmp_path / "out"):
        for key in ("drawing", "explanation"):
            with Image.open(tmp_path / "out" / line[key]) as drawing:
                assert drawing.width > 1000
    assert predict(run, photos, tmp_path / "out", threshold=1.0) == 0
    assert [line["explanation"] for line in lines_of(tmp_path / "out")] == [None] * 3


def test_nothing_of_an_earlier_run_stays(run, photos, tmp_path):
    """Neither an explanation of what isn't found any more, nor drawings of what can't be read."""
    out = tmp_path / "out"
    predict(run, photos, out, threshold=0.0)
    assert len(list(out.glob("*.png"))) == 6
    (photos / "b.png").write_bytes(b"broken")
    assert predict(run, photos, out, threshold=1.0) == 1
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "c.png", "predictions.jsonl"]


def test_boxes_lie_in_the_image(run, photos, tmp_path):
    predict(run, photos, tmp_path, threshold=0.0)
    boxes = [
        one[side]
        for line in lines_of(tmp_path)
        for one in line["interactions"]
        for side in ("human_box", "object_box")
    ]
    first, last = np.split(np.array(boxes), 2, axis=1)
    assert len(boxes) > 20 and (first >= 0).all() and (last <= (60, 40)).all()
    assert (last - first >= 9.99).all()


@pytest.mark.parametrize("size", [(60, 40), (4, 300), (1, 1)])
def test_boxes_are_moved_and_cut_into_the_image(size):
    rng = np.random.default_rng(0)
    first = rng.uniform(-100, 400, (200, 2))
    boxes = np.concatenate([first, first + rng.uniform(0, 200, (200, 2))], axis=1)
    fitted = geometry.fit_boxes(boxes, *size)
    assert (fitted[:, :2] >= 0).all() and (fitted[:, 2:] <= size).all()
    least = np.minimum(size, 10)
    assert (fitted[:, 2:] - fitted[:, :2] >= least - 1e-9).all()
    inside = geometry.fit_boxes(np.array([[5.0, 6.0, 50.0, 30.0]]), 60, 40)
    np.testing.assert_array_equal(inside, [[5, 6, 50, 30]])


def test_the_format_of_the_evaluators(run, photos, tmp_path, detector):
    (photos / "d.png").write_bytes(b"broken")
    assert predict(run, photos, tmp_path, threshold=1.0, format="ppdm") == 1
    entries = json.loads((tmp_path / "predictions.json").read_text())
    assert [entry["file_name"] for entry in entries] == ["a.png", "b.png", "c.png", "d.png"]
    assert entries[3] == {"file_name": "d.png", "predictions": [], "hoi_prediction": []}
    found = detector.detect(photos / "a.png", threshold=0.0)
    assert len(entries[0]["hoi_prediction"]) == len(found) > 10  # whatever the threshold
    best, pair = found[0], entries[0]["hoi_prediction"][0]
    assert VOCABULARY.verbs[VOCABULARY.verb_ids.index(pair["category_id"])] == best.verb
    human, thing = (entries[0]["predictions"][pair[key]] for key in ("subject_id", "object_id"))
    assert human["category_id"] == 1
    assert VOCABULARY.objects[VOCABULARY.object_index(thing["category_id"])] == best.object
    np.testing.assert_allclose(human["bbox"], best.human_box, rtol=1e-6)
    np.testing.assert_allclose(thing["bbox"], best.object_box, rtol=1e-6)
    corners = [
        {"bbox": best.human_box, "category_id": 1},
        {"bbox": best.object_box, "category_id": thing["category_id"]},
    ]
    relation = {"subject_id": 0, "object_id": 1, "category_id": pair["category_id"]}
    truth = [{"file_name": "a.png", "annotations": corners, "hoi_annotation": [relation]}]
    truth += [entry | {"annotations": [], "hoi_annotation": []} for entry in entries[1:]]
    result = hico.evaluate(tmp_path / "predictions.json", truth, VOCABULARY)
    assert result.means["default"]["full"] > 0


def test_two_images_of_one_name_cannot_be_told_apart_by_the_evaluators(run, photos, tmp_path):
    (photos / "below").mkdir()
    (photos / "a.png").rename(photos / "below" / "b.png")
    with pytest.raises(UserError, match=r"below/b\.png have the same"):
        predict(run, [photos, photos / "below"], tmp_path, format="ppdm")


@pytest.mark.parametrize(
    "options",
    [{"format": "coco"}, {"max_pixels": 0}, {"threshold": float("nan")}, {"threshold": 20.0}],
)
def test_options_that_cannot_be_are_named(run, photos, options):
    (name,) = options
    with pytest.raises(UserError, match=f"--{name}="):
        predict(run, photos, photos / "out", **options)
    assert not (photos / "out").exists()


def test_a_folder_says_what_it_does_not_take(photos, capsys):
    for name in ("d.jfif", "e.JPE", "f.jp2", "g.webp", "notes.txt", "h.heic", "i.txt", ".hidden"):
        (photos / name).write_bytes(b"")
    (photos / "below").mkdir()
    (photos / "._a.png").write_bytes(b"")  # macOS puts one beside each file
    taken = [path.name for path in find_images(photos)]
    assert taken == ["a.png", "b.png", "c.png", "d.jfif", "e.JPE", "f.jp2", "g.webp"]
    (said,) = capsys.readouterr().err.splitlines()
    assert all(what in said for what in ("7 images", "2 .txt", "1 .heic", "1 folder"))


def test_patterns_do_not_follow_loops_of_links(photos):
    for name in ("x", "y"):
        (photos / name).symlink_to(photos, target_is_directory=True)
    assert find_images(f"{photos}/**/*.png") == [
        photos / name for name in ("a.png", "b.png", "c.png")
    ]


def test_patterns_match_as_a_shell_does(photos, monkeypatch):
    (photos / "below" / "deep").mkdir(parents=True)
    (photos / ".cache").mkdir()
    for folder in ("below", "below/deep", ".cache"):
        (photos / folder / "d.png").write_bytes(b"")
    deep = [photos / "below" / "d.png", photos / "below" / "deep" / "d.png"]
    assert find_images(f"{photos}/**/d.png") == deep
    assert find_images(f"{photos}/below/**") == deep
    assert find_images(f"{photos}/b**/d.png") == deep[:1]
    assert find_images(f"{photos}/*/d.png") == deep[:1]
    assert find_images(f"{photos}/**/.cache/*.png") == [photos / ".cache" / "d.png"]
    monkeypatch.chdir(photos / "below")
    assert find_images("**/*.png") == [prediction.Path("d.png"), prediction.Path("deep/d.png")]


def test_drawings_have_names_of_their_own():
    given = [f"{folder}/{name}" for folder in "xy" for name in ("a.png", "A.jpg", "a_2.png")]
    given += ["ж" * 150 + ".png", "ж" * 150 + "2.png", "a_explained.png"]
    names = drawing_names([prediction.Path(name) for name in given])
    every = [name.casefold() + end for name in names for end in ("", "_explained")]
    assert len(set(every)) == len(every)
    assert all(len(os.fsencode(name)) < 240 for name in every)


def test_what_is_in_the_way_of_the_output_is_named(run, photos, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cannot write to .*file"):
        predict(run, photos, tmp_path / "file")
    (tmp_path / "out" / "predictions.jsonl").mkdir(parents=True)
    with pytest.raises(UserError, match=r"predictions\.jsonl: it is a folder"):
        predict(run, photos, tmp_path / "out")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_whole_files_only(run, photos, tmp_path, monkeypatch, capsys):
    real = prediction.save_drawing
    saved = []

    def save(drawing, path):
        if len(saved) == 3:
            raise UserError(f"cannot write {path}: No space left on device")
        saved.append(path)
        real(drawing, path)

    monkeypatch.setattr(prediction, "save_drawing", save)
    out = tmp_path / "out"
    out.mkdir()
    (out / "predictions.jsonl").write_text("an earlier run's\n")
    with pytest.raises(UserError, match="No space left"):
        predict(run, photos, out, threshold=0.0)
    assert (out / "predictions.jsonl").read_text() == "an earlier run's\n"
    draft = out / "predictions.jsonl.unfinished"
    assert [json.loads(line)["drawing"] for line in draft.read_text().splitlines()] == ["a.png"]
    assert "predictions for 1 image are in" in capsys.readouterr().err
    for path in out.glob("*.png"):
        with Image.open(path) as drawing:
            drawing.load()


def test_ctrl_c_says_what_is_kept(run, photos, tmp_path, monkeypatch):
    real = prediction.prefetch

    def pressed(*arguments, **options):
        yield from [next(iter(real(*arguments, **options)))]
        raise KeyboardInterrupt

    monkeypatch.setattr(prediction, "prefetch", pressed)
    with pytest.raises(KeyboardInterrupt, match=r"1 image are in .*predictions\.jsonl\.unfinished"):
        predict(run, photos, tmp_path / "out")
    assert not (tmp_path / "out" / "predictions.jsonl").exists()


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_sigterm_is_one_line_in_any_terminal(run, photos, tmp_path):
    """Nothing half-written stays, and names that an ASCII terminal lacks are no obstacle."""
    out = tmp_path / "out"
    for k in range(40):
        (photos / f"z{k}.png").write_bytes((photos / "a.png").read_bytes())
    odd = photos / "a\udcff é 骑.png"
    try:
        (photos / "a.png").rename(odd)
    except (OSError, UnicodeError):
        odd = photos / "a.png"  # the file system has no such names
    terminal = {"PYTHONIOENCODING": "ascii", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "main.py", "--mode=predict", f"--workdir={run}", f"--images={photos}",
         f"--output={out}", "--threshold=0"],
        cwd=REPOSITORY, env=environment() | terminal,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("[3/"):
            process.send_signal(signal.SIGTERM)
            break
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    (line,) = [line for line in said.splitlines() if line]
    assert line.startswith("interrupted; the predictions for") and "unfinished" in line
    assert not (out / "predictions.jsonl").exists()
    assert (out / f"{odd.stem}.png").is_file()
    assert [path.name for path in out.glob("*.unfinished")] == ["predictions.jsonl.unfinished"]
