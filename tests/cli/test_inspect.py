"""--mode=inspect: what it says of a data set of known content, and the page that it writes."""

import base64
import json
import re
from html.parser import HTMLParser
from io import BytesIO

import data_trees
import pytest
import tiny_config
from data_trees import own_config, write_images
from label_studio_exports import annotation, rectangle, relation
from PIL import Image
from subprocesses import run_python

import data_pipelines
from ggnet_jax.cli import modes
from ggnet_jax.errors import UserError


def entry(name, pairs=((1, 2),), boxes=((0, 0, 30, 40), (20, 10, 60, 45)), **more):
    return {
        "file_name": name,
        "annotations": [
            {"bbox": list(box), "category_id": 1 + (k > 0)} for k, box in enumerate(boxes)
        ],
        "hoi_annotation": [
            {"subject_id": 0, "object_id": k, "category_id": verb} for k, verb in pairs
        ],
        **more,
    }


@pytest.fixture
def own(tmp_path):
    """Twelve training images and four test images with much that is worth a look."""
    train = [entry(f"{k}.png") for k in range(11)]
    train.append(entry("gone.png"))  # there is no such image
    train[0] = entry("0.png", boxes=((0, 0, 30, 40), (20, 10, 21, 45)))  # under a cell
    train[1]["annotations"].append({"bbox": [9, 9, 9, 9], "category_id": 2})
    test = [
        entry("0.png"),  # in both
        entry("same.png"),  # with the content of 3.png
        entry("new.png", pairs=((1, 1),)),  # a class that training lacks
        entry("empty.png", pairs=(), boxes=()),
    ]
    images = tmp_path / "images"
    write_images(images, [f"{k}.png" for k in range(11)] + ["new.png", "empty.png"])
    (images / "same.png").write_bytes((images / "3.png").read_bytes())
    config = own_config(tmp_path, train, test)
    config.data.image_size = (64, 128)
    config.model.update(widths=(8, 8), blocks=(1, 1), stacks=1)
    return config


def text_of(config, capsys, output=None):
    assert modes.inspect(config, output, data_pipelines) == 0
    return capsys.readouterr().out


def rows_of(text):
    """{first cell: the rest} of every line with cells."""
    cells = (re.split(r"\s{2,}", line.strip()) for line in text.splitlines())
    return {row[0]: row[1:] for row in cells if len(row) > 1}


def test_what_is_there_is_counted(own, capsys):
    text = text_of(own, capsys)
    rows = rows_of(text)
    assert rows["images"] == ["11", "4"]
    assert rows["images that could not be used"] == ["1", "0"]
    assert rows["images without a pair"] == ["0", "1"]
    assert rows["human-object pairs"] == ["11", "3"]
    assert rows["boxes"] == ["22", "6"]
    assert rows["feed dog"] == ["11", "2"]  # not rare
    assert rows["walk dog"] == ["0", "1", "rare, none in training"]
    assert rows["person"] == ["11", "3"]
    assert rows["feed"] == ["11", "2"]


def test_what_is_wrong_is_named(own, capsys):
    text = " ".join(text_of(own, capsys).split())
    assert "1 class of test is not in training (1 relation): walk dog." in text
    assert "1 verb without a training relation: walk." in text
    assert "2 images of training (train) and test are in both." in text
    assert "1 box without area: left out" in text and "e.g. 1.png: box 2" in text
    assert "1 missing image" in text and "gone.png" in text
    assert "1 image of training (train) could not be used." in text
    assert "3.png = same.png" in text and "file names in training (train) and test: 1" in text
    assert "Under one cell in training (train): dog 1." in text
    assert "0.png: dog, 1 x 35 pixels of the image at (20, 10)" in text


def test_batches_and_sizes_are_those_of_the_configuration(own, capsys):
    own.data.update(max_boxes=1, max_relations=1)
    rows = rows_of(text_of(own, capsys))
    assert rows["boxes left out"] == ["11", "0"]
    assert rows["relations left out"] == ["11", "0"]
    assert rows["(64, 128) as configured"] == ["4.5 %", "0 %"]  # one of 22 boxes
    assert rows["64 x 48"] == ["11", "4"]


class Page(HTMLParser):
    """What a page shows, and what it would fetch."""

    def __init__(self, text):
        super().__init__()
        self.images, self.fetched, self.open, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        fields = dict(attrs)
        if tag == "img":
            self.images.append(fields)
        self.fetched += [v for k, v in attrs if k in ("src", "href", "srcset")]
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_has_the_text_and_images_and_needs_nothing_else(tmp_path, capsys):
    config = tiny_config.get_config()
    config.data.data_dir = str(tmp_path / "prepared")
    text = text_of(config, capsys, str(tmp_path / "out" / "page"))
    path = tmp_path / "out" / "page" / "inspection.html"
    assert f"page: {path}" in text and sorted(path.parent.iterdir()) == [path]
    page = Page(path.read_text())
    assert page.open == []
    assert not [link for link in page.fetched if not link.startswith(("#", "data:image/jpeg"))]
    assert "http" not in path.read_text()
    assert len(page.images) == 8 + 8 + 4  # training, augmented, test
    for image in page.images:
        data = base64.b64decode(image["src"].partition(",")[2])
        size = Image.open(BytesIO(data)).size
        assert size == (int(image["width"]), int(image["height"])) and image["alt"]
    words = " ".join(" ".join(page.words).split())
    for row in rows_of(text).items():
        if row[0] in ("images", "boxes", "hold dog"):
            assert f"{row[0]} {' '.join(row[1])}" in words


def test_annotations_alone_need_no_images(own, capsys, tmp_path):
    """Sizes are known where the entries give them."""
    entries = json.loads((tmp_path / "train.json").read_text())
    for one in entries[:3]:
        one.update(width=64, height=48)
    (tmp_path / "train.json").write_text(json.dumps(entries))
    own.data.update(train_images="", eval_images="")
    text = text_of(own, capsys, str(tmp_path / "out"))
    rows = rows_of(text)
    assert rows["images"] == ["12", "4"]
    assert rows["64 x 48"] == ["3", "0"] and rows["not known"] == ["9", "4"]
    assert "inspected without images" in text and "identical images" not in text.split("Overlap")[1]
    assert not (tmp_path / "prepared").exists()
    assert not Page((tmp_path / "out" / "inspection.html").read_text()).images


def test_one_split_is_enough(own, capsys):
    own.data.update(train_annotations="", train_images="")
    rows = rows_of(text_of(own, capsys))
    assert rows["images"] == ["4"] and rows["feed dog"] == ["2"]


def test_an_export_of_label_studio_alone(tmp_path, capsys):
    """Percent become pixels by the sizes that the export gives."""
    task = {
        "id": 1,
        "data": {"image": "/data/upload/1/0a1b2c3d-a.jpg"},
        "annotations": [
            annotation(
                rectangle("p", "person", (0, 0, 30, 40)),
                rectangle("d", "dog", (20, 10, 60, 45)),
                relation("p", "d"),
            )
        ],
    }
    (tmp_path / "export.json").write_text(json.dumps([task]))
    config = data_trees.config_of(
        tmp_path, "label_studio", train_annotations=str(tmp_path / "export.json")
    )
    config.data.eval_split = ""
    rows = rows_of(text_of(config, capsys))
    assert rows["64 x 48"] == ["1"] and rows["walk dog"] == ["1", "rare"]


def test_a_validation_split_is_held_out_of_training(own, capsys):
    own.data.val_split = "train[8:]"
    text = text_of(own, capsys)
    assert rows_of(text)["images"] == ["8", "3", "4"]
    assert "training (train without train[8:])" in text and "validation (train[8:])" in text
    own.data.update(eval_annotations="", eval_images="")
    assert rows_of(text_of(own, capsys))["images"] == ["8", "3"]


def test_markup_in_names_is_text(tmp_path, capsys):
    name = "<b>&x.png"
    write_images(tmp_path / "images", [name])
    config = own_config(tmp_path, [entry(name)], [entry(name)])
    config.data.image_size = (64, 64)
    config.model.update(widths=(8, 8), blocks=(1, 1))
    config.data.update(train_images="", eval_images="")
    text_of(config, capsys, str(tmp_path / "out"))
    page = Page((tmp_path / "out" / "inspection.html").read_text())
    assert "b" not in page.open and any(name in word for word in page.words)


def test_the_command_line_needs_no_workdir(tmp_path):
    done = run_python(
        "main.py", "--mode=inspect", "--config=tests/tiny_config.py",
        f"--config.data.data_dir={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0 and "boxes an image" in done.stdout, done.stderr
    wrong = run_python("main.py", "--mode=inspect", "--step=3")
    assert wrong.returncode == 2 and "--mode=inspect does not read --step" in wrong.stderr


def test_bad_input_is_said_in_one_line(own, tmp_path):
    with pytest.raises(UserError, match=r"give a configuration"):
        modes.inspect(None, None, data_pipelines)
    own.data.image_size = (60, 128)
    with pytest.raises(UserError, match=r"divisible by 8 .* \(64, 128\) and \(56, 128\)"):
        modes.inspect(own, None, data_pipelines)
    own.data.image_size = (64, 128)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to the folder"):
        modes.inspect(own, str(tmp_path / "file"), data_pipelines)
    (tmp_path / "train.json").write_text("{")
    with pytest.raises(UserError, match=r"train\.json"):
        modes.inspect(own, None, data_pipelines)
    own.data.train_images = ""
    with pytest.raises(UserError, match=r"train\.json"):
        modes.inspect(own, None, data_pipelines)
    own.data.update(train_annotations=str(tmp_path / "no.json"))
    with pytest.raises(UserError, match=r"not found.*no\.json"):
        modes.inspect(own, None, data_pipelines)
    own.data.name = "coco"
    with pytest.raises(UserError, match="no data set 'coco'"):
        modes.inspect(own, None, data_pipelines)
