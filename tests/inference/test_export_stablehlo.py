"""A network as StableHLO: what the files give is what `Detector` gives."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export
from PIL import Image
from subprocesses import run_python
from tiny import VOCABULARY, make_run

from ggnet_jax import Detector
from ggnet_jax.errors import UserError
from ggnet_jax.inference import detection
from ggnet_jax.inference.export import function, loader, write
from ggnet_jax.inference.images import letterbox_image
from ggnet_jax.inference.network import Network

pytest.importorskip("safetensors", reason="the extra 'export' is not installed")

# JAX, what it installs, and what jax.export needs beside.
ALLOWED = ("jax", "jaxlib", "numpy", "ml_dtypes", "opt_einsum", "scipy", "flatbuffers")
DETECT = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import numpy as np
import load

network = load.Network()
json.dump(network.detect(np.load(sys.argv[3]), threshold=0.0), sys.stdout)
"""


def random_image(width=90, height=50, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 6, 3), np.uint8)
    return letterbox_image(small, (height, width))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def trained(run):
    return detection.load(run)


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "new" / "exported"
    write.write(trained, folder, "stablehlo")
    return folder


@pytest.fixture(scope="module")
def network(exported):
    return loader.Network(exported)


def test_the_folder_says_what_it_holds(exported, trained):
    assert sorted(path.name for path in exported.iterdir()) == [
        "labels.json", "load.py", "model.stablehlo", "preprocessing.json", "weights.safetensors",
    ]  # fmt: skip
    assert json.loads((exported / "labels.json").read_text()) == VOCABULARY.to_dict()
    facts = json.loads((exported / "preprocessing.json").read_text())
    assert facts["input_size"] == [64, 96]
    assert facts["step"] == trained.step == 7
    assert facts["jax"] == jax.__version__


def test_one_file_for_every_platform_and_any_batch(exported):
    model = export.deserialize(bytearray((exported / "model.stablehlo").read_bytes()))
    assert model.platforms == ("cpu", "cuda", "tpu")
    assert str(model.in_avals[-1].shape[0]) == "batch"


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_results_are_those_of_the_run_bit_by_bit(network, trained, batch):
    images = np.stack([random_image(96, 64, seed) for seed in range(batch)])
    expected = function.to_arrays(jax.device_get(Network(trained)(images)))
    found = network(images)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    assert found["valid"].sum(axis=1).min() > 5


@pytest.mark.parametrize("size", [(90, 50), (50, 90), (96, 64), (7, 300), (400, 3)])
def test_dictionaries_are_the_detectors_interactions(network, run, size):
    image = random_image(*size)
    expected = Detector.load(run).detect(image, threshold=0.0)
    found = network.detect(image, threshold=0.0)
    assert len(found) == len(expected) > 5
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("human_box", "object_box", "interaction_point", "human_target"):
            assert ours[name] == list(getattr(theirs, name)), name
        for name in ("verb", "object", "score", "verb_score", "human_score", "object_score"):
            assert ours[name] == getattr(theirs, name), name
        for points, (position, weight) in zip(ours["act_points"], theirs.act_points, strict=True):
            np.testing.assert_array_equal(points["position"], position)
            np.testing.assert_array_equal(points["weight"], weight)


def test_detector_loads_the_folder(exported, run, tmp_path):
    images = [random_image(90, 50, 0), random_image(50, 90, 1), random_image(64, 64, 2)]
    ours, theirs = Detector.load(exported, batch_size=2), Detector.load(run, batch_size=2)
    assert ours.step == theirs.step == 7 and ours.vocabulary == theirs.vocabulary
    for found, expected in zip(ours.detect(images), theirs.detect(images), strict=True):
        assert [one.to_dict() for one in found] == [one.to_dict() for one in expected]
    assert ours.detect(images[0], threshold=0.0, top_k=3) != []
    with pytest.raises(UserError, match="gives no heatmaps; use the run's workdir"):
        ours.explain(images[0])
    with pytest.raises(UserError, match="is an export of step 7, not of 3"):
        Detector.load(exported, 3)
    with pytest.raises(UserError, match="its dtype is in the file"):
        Detector.load(exported, dtype="bfloat16")
    assert Detector.load(exported, 7).step == 7


@pytest.mark.parametrize("name", ["labels.json", "model.stablehlo", "weights.safetensors"])
def test_a_file_that_is_missing_is_named(exported, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    (copy / name).unlink()
    with pytest.raises(UserError, match=name):
        Detector.load(copy)


def test_files_that_are_damaged(exported, tmp_path):
    for name, content in (
        ("model.stablehlo", b"noise" * 100),
        ("weights.safetensors", b"noise" * 100),
        ("weights.safetensors", b""),
        ("preprocessing.json", b"{}"),
        ("preprocessing.json", b"[]"),
        ("labels.json", b"{}"),
    ):
        copy = tmp_path / "copy"
        shutil.copytree(exported, copy, dirs_exist_ok=True)
        (copy / name).write_bytes(content)
        with pytest.raises(UserError) as caught:
            Detector.load(copy)
        assert "\n" not in str(caught.value)


def test_threshold(network):
    image = random_image()
    scores = [one["score"] for one in network.detect(image, threshold=0.0)]
    middle = scores[len(scores) // 2]
    above = network.detect(image, threshold=middle)
    assert [one["score"] for one in above] == [score for score in scores if score >= middle]


def test_the_loader_needs_jax_and_numpy_alone(exported, network, tmp_path):
    np.save(tmp_path / "image.npy", random_image())
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ALLOWED:
        package = Path(importlib.import_module(name).__file__).parent
        for folder in (package, package.with_name(f"{name}.libs")):
            if folder.is_dir():
                (alone / folder.name).symlink_to(folder)
    # -S: no site-packages.
    done = run_python("-S", "-c", DETECT, str(alone), str(exported), str(tmp_path / "image.npy"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == network.detect(random_image(), threshold=0.0)


def test_the_loader_says_what_jax_lacks(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ImportError, match="pip install flatbuffers"):
        loader.Network(exported)
    with pytest.raises(UserError, match=r"cannot be loaded; .*pip install flatbuffers"):
        Detector.load(exported)


def test_the_loader_on_the_command_line(exported, network, tmp_path):
    Image.fromarray(random_image()).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"junk")
    program, names = str(exported / "load.py"), ["b.png", "none.png", "a.png"]
    done = run_python(program, *(str(tmp_path / name) for name in names))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert [line.split(":")[0] for line in done.stderr.splitlines() if "skipped" in line] == [
        f"skipped {tmp_path / name}" for name in names[:2]
    ]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["score"] for line in lines] == [
        found["score"] for found in network.detect(random_image())
    ]
    assert "usage: python load.py" in run_python(program).stderr


def test_weights_are_a_safetensors_file(exported, trained):
    from safetensors.numpy import load_file

    theirs = load_file(exported / "weights.safetensors")
    ours = loader.read_safetensors(exported / "weights.safetensors")
    assert theirs.keys() == ours.keys()
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values)
        assert ours[name].dtype == values.dtype
    stem = trained.variables["params"]["backbone"]["stem_conv"]["conv"]["kernel"]
    np.testing.assert_array_equal(ours["params.backbone.stem_conv.conv.kernel"], stem)
    # Inference does not compute the glance's classifier.
    assert "glance_classifier" in str(jax.tree.structure(trained.variables))
    assert not [name for name in ours if "glance_classifier" in name]


def test_an_older_jax_says_so(exported, monkeypatch):
    def fail(module):
        raise ValueError("Failed to deserialize StableHLO")

    monkeypatch.setattr(export.Exported, "mlir_module", fail)
    with pytest.raises(RuntimeError, match=f"written by JAX {jax.__version__}.*or a newer one"):
        loader.Network(exported)


def test_nothing_is_left_of_an_export_that_fails(trained, tmp_path):
    def fail(folder):
        assert (folder / "model.stablehlo").is_file()
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="the disk is full"):
        write.write(trained, tmp_path / "new" / "folder", "stablehlo", verify=fail)
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_way(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty \(file\); give a new folder"):
        write.check(tmp_path, "stablehlo")
    with pytest.raises(UserError, match=r"file is a file; give a new folder"):
        write.check(tmp_path / "file", "stablehlo")
    write.check(tmp_path / "new", "stablehlo")


@pytest.mark.parametrize("package", ["safetensors", "flatbuffers"])
def test_what_is_not_installed(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf'needs {package} .*pip install "ggnet-jax\[export\]"'):
        write.check(tmp_path / "new", "stablehlo")
