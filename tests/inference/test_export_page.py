"""The page beside an ONNX export, in headless Chromium; onnxruntime-web is played by a few lines.

They hand out what a network found, and keep what it was given.
"""

import json
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import VOCABULARY

from ggnet_jax.inference.export import loader

pytest.importorskip("selenium", reason="selenium drives the browser: pip install selenium")
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
if not CHROMIUM or not DRIVER:
    pytest.skip("no Chromium: apt-get install chromium chromium-driver", allow_module_level=True)

SIZE = (64, 96)
RUNTIME = """
const found = FOUND;
const ort = {
  env: { wasm: {} },
  Tensor: class { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } },
  InferenceSession: { create: async () => ({ run: async ({ images }) => {
    window.given = images;
    return Object.fromEntries(Object.entries(found).map(
      ([name, values]) => [name, { data: Float32Array.from(values) }]));
  } }) },
};
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


def make_found(rows: int = 12) -> dict[str, np.ndarray]:
    """What a network might have found, boxes also beside the image."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(-3, 20, (1, rows, 2, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 12, corner.shape)], -1)
    classes = np.array(VOCABULARY.classes)[rng.integers(0, 4, (1, rows))]
    found = {
        "human_box": boxes[:, :, 0], "object_box": boxes[:, :, 1], "verb": classes[..., 0],
        "object_class": classes[..., 1], "score": np.sort(rng.uniform(0, 1, (1, rows)))[:, ::-1],
        "valid": np.arange(rows)[None] % 4 != 1,
    }  # fmt: skip
    for name in ("verb_score", "human_score", "object_score"):
        found[name] = rng.uniform(0, 1, (1, rows))
    for name in ("interaction_point", "human_target", "object_target"):
        found[name] = rng.uniform(0, 20, (1, rows, 2))
    for step in (1, 2):
        found[f"act_points{step}_position"] = rng.uniform(0, 20, (1, rows, 9, 2))
        found[f"act_points{step}_weight"] = rng.uniform(0, 1, (1, rows, 9))
    return {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in found.items()}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """(folder, address) of an export that is served."""
    folder = tmp_path_factory.mktemp("site")
    page = Path(loader.__file__).with_name("page.html")
    shutil.copy(page, folder / "index.html")
    (folder / "model.onnx").write_bytes(b"")
    (folder / "labels.json").write_text(json.dumps(VOCABULARY.to_dict()))
    facts = {"model": "model.onnx", "input_size": SIZE, "output_stride": 4}
    (folder / "preprocessing.json").write_text(json.dumps(facts))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        "window-size=1000,900", f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def status(browser, text: str) -> None:
    """Wait until the page says something that contains a text."""
    WebDriverWait(browser, 60).until(
        lambda _: text in browser.find_element(By.ID, "status").text, f"no {text!r}"
    )


def rows(browser) -> list[list[str]]:
    return browser.execute_script(
        "return [...document.querySelectorAll('#rows tr')]"
        ".map(row => [...row.cells].map(cell => cell.innerText))"
    )


def test_without_the_runtime_it_says_what_to_put_there(site, browser):
    folder, address = site
    (folder / "ort.wasm.min.js").unlink(missing_ok=True)
    browser.get(address)
    status(browser, "put ort.wasm.min.js, ort-wasm-simd-threaded.mjs")


def test_it_finds_and_lists_what_the_loader_does(site, browser, tmp_path):
    folder, address = site
    found = make_found()
    listed = {name: values.ravel().tolist() for name, values in found.items()}
    (folder / "ort.wasm.min.js").write_text(RUNTIME.replace("FOUND", json.dumps(listed)))
    pixels = np.random.default_rng(1).integers(0, 256, (50, 170, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a photo.png")
    browser.get(address)
    browser.find_element(By.ID, "file").send_keys(str(tmp_path / "a photo.png"))
    status(browser, "a photo.png: 170 x 50 pixels")

    given, dims, kind = browser.execute_script(
        "return [Array.from(given.data), given.dims, given.type]"
    )
    assert (dims, kind) == ([1, *SIZE, 3], "uint8")
    warped = np.array(given).reshape(*SIZE, 3)
    assert np.abs(warped - loader.letterbox(pixels, SIZE).astype(int)).max() <= 1  # of a half

    network = object.__new__(loader.Network)
    network.labels = json.loads((folder / "labels.json").read_text())
    network.preprocessing = {"output_stride": 4}
    network.input_size = SIZE
    expected = network.interactions(found, 0, 170, 50, threshold=0)
    ours = browser.execute_script("return interactions")
    assert len(ours) == len(expected) == 9
    for one, want in zip(ours, expected, strict=True):
        assert (one["verb"], one["object"]) == (want["verb"], want["object"])
        assert one["score"] == pytest.approx(want["score"])
        assert one["human"] == pytest.approx(want["human_box"], abs=1e-4)
        assert one["target"] == pytest.approx(want["object_box"], abs=1e-4)
        assert one["point"] == pytest.approx(want["interaction_point"], abs=1e-4)
        steps = [points["position"] for points in want["act_points"]]
        np.testing.assert_allclose(one["actPoints"], steps, atol=1e-4)

    # The threshold answers without the network.
    browser.execute_script(
        "given = null; threshold.value = 0.5; threshold.dispatchEvent(new Event('input'))"
    )
    assert rows(browser) == [
        [one["verb"], one["object"], f"{one['score']:.2f}"]
        for one in expected
        if one["score"] >= 0.5
    ]
    assert browser.execute_script("return given") is None


def test_what_is_no_image_is_named(site, browser, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    browser.get(site[1])
    WebDriverWait(browser, 60).until(lambda _: browser.execute_script("return Boolean(session)"))
    browser.find_element(By.ID, "file").send_keys(str(tmp_path / "notes.txt"))
    status(browser, "notes.txt is not an image that this browser can read")


def test_nothing_is_fetched_from_elsewhere():
    assert "://" not in Path(loader.__file__).with_name("page.html").read_text()
