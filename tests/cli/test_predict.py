"""--mode=predict: which images it takes, what it writes, and how it deals with bad ones."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny import make_run

from ggnet_jax.cli.image_paths import find_sources
from ggnet_jax.cli.predict import find_images, predict
from ggnet_jax.errors import UserError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.JPG", "below/a.png")):
        noise = np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(noise).save(folder / name)
    (folder / "notes.txt").write_text("not an image, and not taken for one")
    return folder


def test_files_folders_and_globs(photos):
    a, b, below = photos / "a.png", photos / "b.JPG", photos / "below" / "a.png"
    assert find_images(photos) == [a, b]
    assert find_images(str(photos / "*.png")) == [a]
    assert find_images(str(photos / "**" / "*.png")) == [a, below]
    assert find_images([str(below), photos, a]) == [below, a, b]
    assert find_images(f"{b},{a}") == [b, a]
    missing = photos / "none.jpg"
    assert find_images([missing, a]) == [missing, a]


def test_a_comma_in_a_name_is_part_of_it(photos):
    odd = photos / "one,two.png"
    (photos / "a.png").rename(odd)
    assert find_images(str(odd)) == [odd]


@pytest.mark.parametrize("images", ["", [], "nothing*.jpg"])
def test_no_image_at_all_is_an_error(images):
    with pytest.raises(UserError):
        find_images(images)


@pytest.mark.parametrize(
    "address", ["https://a.example/one.jpg?size=2", "gs://bucket/photos", "rtsp://camera"]
)
def test_an_address_is_no_file(photos, address):
    """Neither is anything fetched, nor is the network loaded to say that there is no such file."""
    for find in (find_images, find_sources):
        with pytest.raises(UserError) as raised:
            find([photos, address])
        assert str(raised.value) == f"{address} is an address; name a file on this machine"


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no image there"):
        find_images(tmp_path)


def test_predict_writes_drawings_and_lines_and_skips_what_is_broken(run, photos, tmp_path, capsys):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    output = tmp_path / "out"
    images = [photos, photos / "gone.png", photos / "below" / "*.png"]
    failures = predict(run, images, output, threshold=0.0)
    assert failures == 2
    lines = [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]
    assert [line["file_name"] for line in lines] == [
        str(photos / name) for name in ("a.png", "b.JPG", "broken.jpg", "gone.png", "below/a.png")
    ]
    bad = [line for line in lines if "error" in line]
    assert [line["file_name"][-10:] for line in bad] == ["broken.jpg", "s/gone.png"]
    said = capsys.readouterr()
    assert "broken.jpg" in said.err and "gone.png: no such file" in said.err
    for line in lines:
        if "error" not in line:
            assert (line["width"], line["height"]) == (60, 40)
            assert line["interactions"]
            first = line["interactions"][0]
            assert set(first) >= {"verb", "object", "score", "human_box", "object_box"}
    # Two images are called a.png: neither drawing overwrites the other.
    drawn = {path.name for path in output.glob("*.png")}
    assert drawn == {
        f"{name}{kind}.png" for name in ("a", "a_2", "b") for kind in ("", "_explained")
    }
    with Image.open(output / "a.png") as drawing:
        assert drawing.width > 1000  # an image of 60 pixels, enlarged to be legible


def test_images_are_never_drawn_over(run, photos):
    before = (photos / "a.png").read_bytes()
    with pytest.raises(UserError, match=r"a\.png would be drawn over"):
        predict(run, photos, photos)
    assert (photos / "a.png").read_bytes() == before


def test_a_threshold_that_nothing_passes_still_draws(run, photos, tmp_path):
    output = tmp_path / "out"
    assert predict(run, photos / "a.png", output, threshold=1.0) == 0
    assert [path.name for path in output.glob("*.png")] == ["a.png"]
    line = json.loads((output / "predictions.jsonl").read_text())
    assert line["interactions"] == []


def test_the_workdir_is_where_predictions_go_by_default(run, photos):
    assert predict(run, photos / "a.png") == 0
    assert (run / "predictions" / "a.png").exists()
