"""What `--diagnose` prints and writes: table, JSON, HTML, drawings."""

import base64
import dataclasses
import html.parser
import io
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from evaluation_scenes import SMALL, random_scenes
from PIL import Image
from subprocesses import run_python

from ggnet_jax.evaluation import diagnosis, diagnosis_report, hico
from ggnet_jax.evaluation.diagnosis import ALL_MISSED, ALL_WRONG, MISSED, MISTAKES
from ggnet_jax.evaluation.worst import worst

SCENES = random_scenes(1, name="{:02d}.png")


@pytest.fixture
def files(tmp_path):
    predictions, ground_truth = SCENES
    (tmp_path / "p.json").write_text(json.dumps(predictions))
    (tmp_path / "g.json").write_text(json.dumps(ground_truth))
    SMALL.save(tmp_path / "v.json")
    (tmp_path / "images").mkdir()
    for entry in ground_truth[:-3]:
        Image.new("RGB", (80, 60), "gray").save(tmp_path / "images" / entry["file_name"])
    return tmp_path


@pytest.fixture(scope="module")
def diagnosed():
    return diagnosis.diagnose(hico.evaluate_and_match(*SCENES, SMALL)[1]())


def arguments(folder, *more):
    return [
        f"--predictions={folder}/p.json",
        f"--ground_truth={folder}/g.json",
        f"--vocabulary={folder}/v.json",
        "--diagnose",
        *more,
    ]


def test_the_table_follows_the_metrics(files, capsys, diagnosed):
    assert hico.main(arguments(files)) == 0
    printed = capsys.readouterr().out
    assert printed.index("known object") < printed.index("diagnosis: small, rule no_frills")
    for name in (*MISTAKES, *MISSED, ALL_WRONG, ALL_MISSED):
        [line] = [row for row in printed.splitlines() if row.startswith(name.replace("_", " "))]
        cells = line.split("  ")
        cells = [cell.strip() for cell in cells[1:] if cell.strip()]
        cost = diagnosed.costs[name]
        assert cells[0] == f"{cost.count:,}"
        assert cells[-3:] == [f"{100 * value:.2f}" for value in cost.points.values()]


def test_json_html_and_drawings(files, capsys, diagnosed):
    out = files / "out"
    assert hico.main(arguments(files, f"--output={out}", f"--images={files}/images")) == 0
    written = {line.removeprefix("wrote ") for line in capsys.readouterr().out.splitlines()}
    saved = json.loads((out / "diagnosis.json").read_text())
    assert saved == json.loads(json.dumps(diagnosis_report.to_dict(diagnosed, worst(diagnosed))))
    assert saved["kinds"]["human_box"]["count"] == diagnosed.costs["human_box"].count
    assert len(saved["precision_at_recall"]["as it is"]) == 101
    assert (out / "metrics.json").exists()

    text = (out / "diagnosis.html").read_text()
    drawings = sorted((out / "mistakes").iterdir())
    assert {str(path) for path in drawings} <= written
    embedded = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert [base64.b64decode(one) for one in embedded] == [one.read_bytes() for one in drawings]
    for path in drawings:
        with Image.open(path) as image:
            assert image.width > 2 * 80 and image.mode == "RGB"
    assert not re.search(r'(src|href)="(?!data:)', text), "the page needs nothing else"


def test_the_page_is_well_formed(diagnosed):
    mistakes = worst(diagnosed)
    page = diagnosis_report.page(diagnosed, mistakes, [b""] * len(mistakes))
    open_tags = []

    class Checker(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in {"meta", "img"}:
                open_tags.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Checker().feed(page)
    assert open_tags == []
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) == 3
    for chart in charts:
        ElementTree.fromstring(chart)


def test_worst_mistakes_have_their_kind_and_come_with_both_sides(diagnosed):
    mistakes = worst(diagnosed, each=3)
    kinds = [mistake.kind for mistake in mistakes]
    for name in (*MISTAKES, *MISSED):
        assert kinds.count(name) == min(3, diagnosed.costs[name].count)
    names = {entry["file_name"]: entry for entry in SCENES[1]}
    for mistake in mistakes:
        real = names[mistake.file_name]
        boxes = {tuple(map(float, box["bbox"])) for box in real["annotations"]}
        assert all({pair.human, pair.object} <= boxes for pair in mistake.annotated)
        assert bool(mistake.annotated) == bool(real["hoi_annotation"])
        if mistake.kind in MISTAKES:
            assert len(mistake.predicted) == 1 and mistake.score is not None
            assert mistake.predicted[0].label == f"{mistake.label} {mistake.score:.2g}"
        else:
            assert mistake.score is None and mistake.annotated[0].label == mistake.label


def test_the_estimate_of_one_mistake_is_near_what_leaving_it_out_gains():
    """Two classes of ten pairs; the first place of one is wrong, the last of the other."""
    real, predictions = [], []
    man, cup, dog = [0, 0, 40, 40], [50, 0, 70, 20], [50, 50, 90, 90]
    for index in range(10):
        boxes = [{"bbox": b, "category_id": c} for b, c in ((man, 1), (cup, 47), (dog, 18))]
        pairs = [
            {"subject_id": 0, "object_id": o, "category_id": 1, "score": 0.9 - 0.01 * index}
            for o in (1, 2)
        ]
        name = f"{index}.png"
        real.append({"file_name": name, "annotations": boxes, "hoi_annotation": pairs})
        predictions.append({"file_name": name, "predictions": boxes, "hoi_prediction": pairs[:]})
    real.append({"file_name": "x.png", "annotations": [], "hoi_annotation": []})
    boxes = real[0]["annotations"]
    wrong = [
        {"subject_id": 0, "object_id": 1, "category_id": 1, "score": 1.0},
        {"subject_id": 0, "object_id": 2, "category_id": 1, "score": 0.1},
    ]
    predictions.append({"file_name": "x.png", "predictions": boxes, "hoi_prediction": wrong})
    result = diagnosis.diagnose(hico.evaluate_and_match(predictions, real, SMALL)[1]())
    first, last = worst(result)
    assert (first.label, first.score, last.label, last.score) == ("hold cup", 1.0, "hold dog", 0.1)
    # All precisions k / (k + 1) rather than 1, in one of five classes.
    assert first.points == pytest.approx(np.mean([1 / (k + 1) for k in range(1, 11)]) / 5)
    assert last.points == 0.0


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--images={0}/images"], "add --diagnose and --output"),
        (["--images={0}/nowhere", "--output={0}/out"], "nowhere is not a folder"),
        (["--images={0}/empty", "--output={0}/out"], "none of the images, such as"),
    ],
)
def test_a_folder_of_images_that_is_no_use_is_one_line_and_writes_nothing(
    files, capsys, more, told
):
    (files / "empty").mkdir()
    assert hico.main(arguments(files, *(one.format(files) for one in more))) == 2
    streams = capsys.readouterr()
    assert told in streams.err and streams.err.count("\n") == 1 and streams.out == ""
    assert not (files / "out").exists()


def test_an_image_that_is_not_there_is_told_in_words(diagnosed):
    mistakes = worst(diagnosed)[:1]
    page = diagnosis_report.page(diagnosed, mistakes, [b""])
    assert f"in {mistakes[0].file_name} (predicted: {mistakes[0].predicted[0].label}" in page


def test_labels_of_a_file_are_escaped(diagnosed):
    mistake = dataclasses.replace(worst(diagnosed)[0], file_name='<img src="x">.png')
    assert '<img src="x">' not in diagnosis_report.page(diagnosed, [mistake], [b""])


def test_an_image_in_a_folder_of_the_file_name_is_found_by_its_own_name(diagnosed, tmp_path):
    mistake = worst(diagnosed)[0]
    Image.new("L", (80, 60)).save(tmp_path / mistake.file_name)
    mistake = dataclasses.replace(mistake, file_name=f"test2015/{mistake.file_name}")
    [drawing] = diagnosis_report.draw([mistake], tmp_path)
    assert Image.open(io.BytesIO(drawing)).height > 60


def test_drawing_loads_pillow_and_nothing_of_jax():
    code = (
        "import sys, ggnet_jax.visualize.mistakes, ggnet_jax.inference.images;"
        "print({'jax', 'matplotlib', 'PIL', 'tensorflow'} & set(sys.modules))"
    )
    done = run_python("-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{'PIL'}"


@pytest.mark.parametrize("rule", [*hico.RULES, "all", "known_object"])
def test_nothing_predicted_and_nothing_annotated(rule, tmp_path):
    """Every rule has other classes without an AP; none of them ends as NaN."""
    predictions, ground_truth = SCENES
    empty = [
        {"file_name": entry["file_name"], "annotations": [], "hoi_annotation": []}
        for entry in ground_truth
    ]
    for found, real in (([], ground_truth), (predictions, empty)):
        result = diagnosis.diagnose(hico.evaluate_and_match(found, real, SMALL, protocol=rule)[1]())
        diagnosis_report.table(result)
        diagnosis_report.write(result, tmp_path)
        saved = (tmp_path / "diagnosis.json").read_text()
        assert "NaN" not in saved and ">nan<" not in (tmp_path / "diagnosis.html").read_text()
        json.loads(saved)
