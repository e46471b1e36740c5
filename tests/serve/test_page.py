"""The page in a real browser: what a visitor does, sees and gets."""

import base64
import json
import signal
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serve_site import address, serve
from tiny import make_run

from ggnet_jax import Detector
from ggnet_jax.errors import UserError
from ggnet_jax.serve.photos import EXPLAINABLE, Photo, look_at
from ggnet_jax.visualize import draw_explanation, draw_interactions

pytest.importorskip("gradio", reason="Gradio is an optional install: pip install -e '.[serve]'")
pytest.importorskip("selenium", reason="selenium drives the browser: pip install selenium")

from browser import Visitor, visiting

from ggnet_jax.serve.page import take_upload
from ggnet_jax.serve.server import WAITING, read_examples

MAX_BYTES, MAX_PIXELS = 200_000, 250_000


@dataclass
class Site:
    """A running page, and the same network without one."""

    url: str
    folder: Path
    detector: Detector
    process: subprocess.Popen

    def calls(self) -> int:
        """How often the network was asked so far."""
        log = self.folder / "calls"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def uploads(self) -> list[Path]:
        """Files of visitors on the server's disk."""
        return [path for path in (self.folder / "tmp").rglob("*") if path.is_file()]

    def expected(self, path: Path) -> Photo:
        """What the page should know of a photo."""
        return look_at(self.detector, path.read_bytes(), path.name, max_pixels=MAX_PIXELS)


def photo_file(folder: Path, name: str, seed: int = 0, size=(60, 40)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(folder / name)
    return folder / name


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return tmp_path_factory.mktemp("photos")


@pytest.fixture(scope="module")
def site(tmp_path_factory, photos):
    run = make_run(tmp_path_factory.mktemp("run"))
    folder = tmp_path_factory.mktemp("site")
    (folder / "tmp").mkdir()
    process = serve(
        folder, "--mode=serve", f"--workdir={run}", "--port=0", "--threshold=0",
        f"--images={photo_file(photos, 'example.png', seed=9)}", f"--max_bytes={MAX_BYTES}",
        f"--max_pixels={MAX_PIXELS}",
    )  # fmt: skip
    try:
        detector = Detector.load(run, max_pixels=MAX_PIXELS, explained=EXPLAINABLE)
        yield Site(address(process), folder, detector, process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def browser(site, tmp_path_factory):
    with visiting(site.url, tmp_path_factory.mktemp("downloads")) as visitor:
        yield visitor


@pytest.fixture
def visitor(browser, site) -> Visitor:
    """A new session."""
    (site.folder / "calls").unlink(missing_ok=True)
    return browser.open()


def labels(photo: Photo, threshold: float) -> list[str]:
    """What the table's rows say."""
    return [one.label for one in photo.found if one.score >= threshold][:EXPLAINABLE]


def test_a_photo_is_looked_at_once_and_not_kept(visitor, site, photos):
    assert "Nothing here yet" in visitor.text("#drawing")
    assert not visitor.all("#table table")
    path = photo_file(photos, "mine & <b>.png")
    visitor.upload(path)
    said = visitor.wait_for("interactions of at least 0.00 in mine & <b>.png")
    assert "(60 × 40 pixels)" in said
    assert site.calls() == 1
    photo = site.expected(path)
    assert visitor.rows() == labels(photo, 0.0)
    (picture,) = visitor.all("img.drawing")
    assert picture.get_attribute("alt").startswith(
        f"Your photo with what was found: {labels(photo, 0)[0]}"
    )
    assert picture.get_property("naturalWidth") > 500
    assert site.uploads() == []


def test_the_slider_does_not_run_the_network(visitor, site, photos):
    visitor.upload(photo_file(photos, "a.png"))
    visitor.wait_for("in a.png")
    photo = site.expected(photos / "a.png")
    threshold = round(photo.found[3].score, 2)
    visitor.keys("#threshold input[type=range]", *["\ue014"] * round(100 * threshold))  # right
    visitor.until(lambda: visitor.rows() == labels(photo, threshold))
    assert 0 < len(labels(photo, threshold)) < len(labels(photo, 0.0))
    visitor.keys("#threshold input[type=range]", "\ue010")  # end
    said = visitor.wait_for("Nothing above 1.00; the best is")
    assert photo.found[0].label in said
    assert "lower the threshold" in visitor.text("#table")
    assert visitor.text("#explanation") == ""
    visitor.keys("#threshold input[type=range]", "\ue011")  # home
    visitor.until(lambda: visitor.rows() == labels(photo, 0.0))
    assert site.calls() == 1


def test_a_row_is_explained(visitor, site, photos):
    visitor.upload(photo_file(photos, "a.png"))
    visitor.wait_for("in a.png")
    photo = site.expected(photos / "a.png")
    one = photo.found[0]
    visitor.until(lambda: visitor.all("#explanation img"))
    panels = visitor.all("#explanation figure img")
    assert len(panels) == len(one.act_points) + 2 + len(photo.view.heatmaps[0].maps)
    captions = [picture.get_attribute("alt") for picture in panels]
    assert captions[0] == "Glance: the interaction point"
    assert [c for c in captions if "ActPoints" in c] == captions[1:3]
    assert captions[3].startswith("Matching") and f'"{one.verb}", peak' in captions[4]
    before = panels[1].get_attribute("src")

    def explains(row):
        wanted = photo.found[row]
        score = f"Score {wanted.score:.2f} = verb {wanted.verb_score:.2f}"
        text = visitor.text("#explanation")
        return f"“{wanted.phrase}”" in text and score in text

    assert explains(0)
    visitor.all("#table tbody tr")[4].find_elements("css selector", "td")[1].click()
    visitor.until(lambda: explains(4))
    assert visitor.all("#explanation figure img")[1].get_attribute("src") != before
    visitor.keys("#table input:checked", "\ue015")  # arrow down
    visitor.until(lambda: explains(5))
    assert visitor.all("#table input:checked")[0].get_attribute("value") == "5"
    assert site.calls() == 1


def test_a_long_table_does_not_push_the_explanation_out_of_sight(visitor, site, photos):
    visitor.upload(photo_file(photos, "a.png"))
    visitor.wait_for("in a.png")
    photo = site.expected(photos / "a.png")
    rows, chosen = min(len(photo.found), EXPLAINABLE), len(labels(photo, 0.0)) - 1
    visitor.until(lambda: len(visitor.rows()) == rows)
    box = visitor.all("#table .rows")[0]
    assert box.rect["height"] <= 430 < rows * 36
    visitor.all("#table tbody tr label")[chosen].click()
    visitor.until(lambda: f"“{photo.found[chosen].phrase}”" in visitor.text("#explanation"))
    visitor.keys("#threshold input[type=range]", "\ue014", "\ue012")  # right, left: drawn anew
    visitor.until(lambda: len(visitor.rows()) == rows)

    def in_sight():
        row, box = visitor.all("#table tr:has(:checked)")[0], visitor.all("#table .rows")[0]
        return box.rect["y"] < row.rect["y"] < box.rect["y"] + box.rect["height"]

    visitor.until(in_sight)


def test_downloads(visitor, site, photos):
    visitor.upload(photo_file(photos, "a b.png"))
    visitor.wait_for("in a b.png")
    photo = site.expected(photos / "a b.png")
    visitor.all("#table tbody tr label")[2].click()
    visitor.until(lambda: f"“{photo.found[2].phrase}”" in visitor.text("#explanation"))
    line = visitor.download("JSON")
    assert line.name == "a b.json" and line.read_text() == photo.json_line(0.0)
    assert json.loads(line.read_text())["drawing"] == "a b.png"
    drawing = visitor.download("Drawing")
    assert drawing.name == "a b.png"
    same(drawing, draw_interactions(photo.view.image, photo.found))
    shown = visitor.all("img.drawing")[0].get_attribute("src").partition(",")[2]
    with Image.open(BytesIO(base64.b64decode(shown))) as picture, Image.open(drawing) as saved:
        assert picture.size == saved.size  # what is shown is a JPEG of it
        assert np.abs(np.subtract(picture, saved, dtype=float)).mean() < 3
    explained = visitor.download("Explanation")
    assert explained.name == "a b_explained.png"
    same(explained, draw_explanation(photo.view.image, photo.found[2:3], photo.view.heatmaps[2:3]))
    assert site.uploads() == []


def test_the_row_that_is_shown_is_downloaded_when_the_chosen_one_is_gone(visitor, site, photos):
    visitor.upload(photo_file(photos, "gone row.png"))
    visitor.wait_for("in gone row.png")
    photo = site.expected(photos / "gone row.png")
    threshold = round(photo.found[2].score, 2)
    kept = len(labels(photo, threshold))
    assert kept < len(photo.found)
    visitor.all("#table tbody tr label")[kept].click()
    visitor.until(lambda: f"“{photo.found[kept].phrase}”" in visitor.text("#explanation"))
    visitor.keys("#threshold input[type=range]", *["\ue014"] * round(100 * threshold))  # right
    visitor.until(lambda: visitor.rows() == labels(photo, threshold))
    visitor.until(lambda: f"“{photo.found[0].phrase}”" in visitor.text("#explanation"))
    explained = visitor.download("Explanation")
    same(explained, draw_explanation(photo.view.image, photo.found[:1], photo.view.heatmaps[:1]))


def test_the_page_is_as_wide_before_the_first_photo(visitor, photos):
    def width():
        return visitor.all("#columns")[0].rect["width"]

    empty = width()
    assert empty > 1100  # of 1280
    visitor.upload(photo_file(photos, "wide.png", size=(90, 40)))
    visitor.wait_for("in wide.png")
    visitor.until(lambda: visitor.all("#explanation img"))
    assert abs(width() - empty) < 20  # a scroll bar


def same(path: Path, image: Image.Image) -> None:
    with Image.open(path) as written:
        assert np.array_equal(np.asarray(written), np.asarray(image))


def test_a_broken_file_is_one_line_and_the_next_photo_works(visitor, site, photos):
    visitor.upload(photo_file(photos, "good.png"))
    visitor.wait_for("in good.png")
    broken = photos / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 cut off")
    for path, says in ((broken, "broken.jpg: "), (text_file(photos), "notes.txt: not an image")):
        visitor.upload(path)
        assert "\n" not in visitor.wait_for(says)
        assert visitor.all("#say [role=alert]")
        assert not visitor.all("img.drawing") and not visitor.all("#table table")
    assert site.uploads() == []
    visitor.upload(photos / "good.png")
    visitor.wait_for("in good.png")
    visitor.until(lambda: visitor.rows())


def text_file(folder: Path) -> Path:
    (folder / "notes.txt").write_text("no image at all, whatever it is called")
    return folder / "notes.txt"


def test_limits(visitor, site, photos):
    heavy = photos / "heavy.png"
    heavy.write_bytes(bytes(MAX_BYTES + 1))
    visitor.upload(heavy)
    visitor.wait_for("heavy.png: 0.2 MB; up to 0.2 are taken")
    assert site.calls() == 0 and site.uploads() == []  # it was not even sent
    visitor.upload(large_photo(photos))
    visitor.wait_for("large.png: too large (360,000 pixels; up to 250,000 are taken)")
    assert "up to 0.2 MB and 0.25 megapixels" in visitor.text("#limits")


def test_the_server_has_the_limit_too(site, photos):
    """Who does not use the page's own drop zone."""
    for size, answers in ((MAX_BYTES + 1, 413), (MAX_BYTES // 2, 200)):
        body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        body += bytes(size) + b"\r\n--x--\r\n"
        request = urllib.request.Request(
            f"{site.url}/gradio_api/upload",
            body,
            {"Content-Type": "multipart/form-data; boundary=x"},
        )
        try:
            with urllib.request.urlopen(request) as answer:
                assert answer.status == answers
        except urllib.error.HTTPError as error:
            assert error.code == answers
            error.close()
    (kept,) = site.uploads()  # that nobody asked about; it goes with the server or after a while
    kept.unlink()


def large_photo(folder: Path) -> Path:
    Image.new("RGB", (600, 600)).save(folder / "large.png")
    return folder / "large.png"


def test_an_example(visitor, site, photos):
    (button,) = visitor.all(".examples button")
    assert button.get_attribute("title") == "example.png"
    button.click()
    visitor.wait_for("in example.png")
    assert site.calls() == 1
    assert visitor.rows() == labels(site.expected(photos / "example.png"), 0.0)


def test_two_people_do_not_mix(visitor, site, photos, tmp_path):
    first = visitor
    with visiting(site.url, tmp_path / "downloads") as second:
        second.open()
        first.upload(photo_file(photos, "first.png", seed=1))
        second.upload(photo_file(photos, "second.png", seed=2, size=(80, 40)))
        first.wait_for("in first.png")
        second.wait_for("in second.png")
        photo = {name: site.expected(photos / name) for name in ("first.png", "second.png")}
        assert first.rows() == labels(photo["first.png"], 0.0)
        assert second.rows() == labels(photo["second.png"], 0.0)
        first.keys("#threshold input[type=range]", "\ue010")
        first.wait_for("Nothing above 1.00")
        second.all("#table tbody tr label")[1].click()
        wanted = photo["second.png"].found[1]
        second.until(lambda: f"“{wanted.phrase}”" in second.text("#explanation"))
        assert second.rows() == labels(photo["second.png"], 0.0)
        assert second.download("JSON").read_text() == photo["second.png"].json_line(0.0)
        assert first.download("JSON").read_text() == photo["first.png"].json_line(1.0)


def test_the_queue_has_a_length(visitor, site, photos):
    window = visitor.driver.current_window_handle
    closed = site.folder / "closed"
    closed.touch()
    try:
        visitor.upload(photo_file(photos, "slow.png"))
        visitor.until(lambda: site.calls() == 1)
        visitor.driver.switch_to.new_window("tab")
        visitor.open()
        visitor.upload(photo_file(photos, "waits.png"))
        visitor.until(lambda: "queue: 1/1" in visitor.text("#drawing"))
        assert site.calls() == 1
    finally:
        closed.unlink()
    visitor.wait_for("in waits.png")
    visitor.driver.close()
    visitor.driver.switch_to.window(window)
    visitor.wait_for("in slow.png")


def join_as_others(site, count: int) -> None:
    """Put examples of somebody else's into the queue."""
    with urllib.request.urlopen(f"{site.url}/config") as answer:
        config = json.load(answer)
    (event,) = (
        one["id"]
        for one in config["dependencies"]
        if [target[1] for target in one["targets"]] == ["example"]
    )
    for number in range(count):
        body = {"data": [0, None], "fn_index": event, "event_data": {"index": 0}}
        request = urllib.request.Request(
            f"{site.url}/gradio_api/queue/join",
            json.dumps(body | {"session_hash": f"other{number}"}).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).close()


def test_a_full_queue_is_said(visitor, site, photos):
    closed = site.folder / "closed"
    closed.touch()
    try:
        join_as_others(site, 1)
        visitor.until(lambda: site.calls() == 1)
        join_as_others(site, WAITING)
        visitor.upload(photo_file(photos, "too many.png"))
        visitor.wait_for("too many photos are waiting")
        assert visitor.all("#say [role=alert]")
    finally:
        closed.unlink()
    visitor.until(lambda: site.calls() == 1 + WAITING)
    visitor.upload(photos / "too many.png")
    visitor.wait_for("in too many.png")


def test_a_forgotten_photo(visitor, site, photos):
    visitor.upload(photo_file(photos, "a.png"))
    visitor.wait_for("in a.png")
    site.process.send_signal(signal.SIGUSR1)  # as after a restart, or a long time
    visitor.keys("#threshold input[type=range]", "\ue010")
    visitor.wait_for("its photo is forgotten; drop it again")
    visitor.upload(photos / "a.png")
    visitor.wait_for("in a.png")
    site.process.send_signal(signal.SIGUSR1)
    next(one for one in visitor.all("#downloads button") if one.text == "JSON").click()
    visitor.wait_for("its photo is forgotten; drop it again")
    visitor.upload(photos / "a.png")
    visitor.wait_for("in a.png")


def test_nothing_comes_from_anywhere_else(visitor, site, photos):
    visitor.hosts()
    visitor.complaints()
    visitor.open()
    visitor.upload(photo_file(photos, "a.png"))
    visitor.wait_for("in a.png")
    assert visitor.hosts() == {site.url.split("/")[2]}
    assert visitor.complaints() == []
    asked = (site.folder / "connections").read_text().splitlines()
    assert asked and {one.replace("('", "").split("'")[0] for one in asked} <= {"127.0.0.1"}
    policy = visitor.driver.execute_script(
        "const asked = new XMLHttpRequest(); asked.open('GET', '/', false); asked.send();"
        "return asked.getResponseHeader('content-security-policy')"
    )
    assert "default-src 'self' data: blob:;" in policy and "http" not in policy


def test_nobody_makes_the_server_fetch_anything(site):
    """Where a component gets the address of a file, Gradio would fetch it."""
    with urllib.request.urlopen(f"{site.url}/config") as answer:
        config = json.load(answer)
    kinds = {one["id"]: one["type"] for one in config["components"]}
    (event,) = (
        one
        for one in config["dependencies"]
        if [target[1] for target in one["targets"]] == ["change"]
        and "slider" in [kinds[i] for i in one["inputs"]]
    )
    file = {"path": "http://192.0.2.1/a.png", "meta": {"_type": "gradio.FileData"}}
    data = [file if kinds[i] == "slider" else None for i in event["inputs"]]
    body = {"data": data, "fn_index": event["id"], "session_hash": "somebody"}
    request = urllib.request.Request(
        f"{site.url}/gradio_api/queue/join",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()
    with urllib.request.urlopen(
        f"{site.url}/gradio_api/queue/data?session_hash=somebody"
    ) as stream:
        for line in stream:
            if b"process_completed" in line:
                assert b'"success":false' in line and b"drop zone alone" in line
                break
        else:
            pytest.fail("the request was never answered")
    assert "192.0.2.1" not in (site.folder / "connections").read_text()


def test_uploads_are_taken_from_their_folder_alone(tmp_path):
    uploads = tmp_path / "uploads"
    upload = uploads / "0123abcd" / "photo.png"
    upload.parent.mkdir(parents=True)
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    (upload.parent / "link.png").symlink_to(secret)
    (uploads / "loose.png").write_bytes(b"loose")
    for path in (
        str(secret), str(upload.parent / ".." / ".." / "secret.png"), "secret.png", "", None, 7,
        str(upload.parent / "link.png"), str(upload.parent), str(uploads / "loose.png"), "a\0b",
        str(upload), ["x"], "x" * 5000, "http://127.0.0.1/photo.png",
    ):  # fmt: skip
        with pytest.raises(UserError, match="try again"):
            take_upload(uploads, path)
    assert secret.read_bytes() == b"secret"
    (upload.parent / "link.png").unlink()
    upload.write_bytes(b"photo")
    assert take_upload(uploads, str(upload)) == b"photo"
    assert list(uploads.iterdir()) == [uploads / "loose.png"]


def test_examples_are_read_before_the_page_is_served(tmp_path):
    assert list(read_examples(None, tmp_path, MAX_PIXELS)) == []
    folder = tmp_path / "examples"
    folder.mkdir()
    (folder / ".DS_Store").touch()
    assert list(read_examples(None, tmp_path, MAX_PIXELS)) == []
    photo_file(folder, "b.png")
    photo_file(folder, "a.png")
    found = list(read_examples(None, tmp_path, MAX_PIXELS))
    assert [name for name, _, _ in found] == ["a.png", "b.png"]
    assert found[0][1] == (folder / "a.png").read_bytes()
    assert Image.open(BytesIO(found[0][1])).size == (60, 40) == found[0][2].size
    (folder / "c.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match=r"c\.jpg"):
        list(read_examples(None, tmp_path, MAX_PIXELS))
