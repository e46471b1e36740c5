"""Importing PyTorch checkpoints: names, files, refusals, and the run that comes out of it."""

import json
import os
import pickle
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import reference_weights as reference
from reference_networks import HOURGLASS_104, dla_config, model_config
from tiny_config import get_config as tiny_config

from ggnet_jax import checkpoints, vocabularies, workdir
from ggnet_jax.errors import UserError
from ggnet_jax.models import create_model
from ggnet_jax.torch_import import fill, from_torch, pretrained, read_state_dict
from ggnet_jax.torch_import.convert import convert, expected_variables
from ggnet_jax.torch_import.names import is_head, torch_name

NEEDS_TORCH = "PyTorch is an optional install: pip install torch"


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason=NEEDS_TORCH)


def shapes_of(config) -> dict[str, tuple[int, ...]]:
    """The layout of a network of ours in PyTorch's terms."""
    flat = {}
    for tree in expected_variables(config).values():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            order = (3, 2, 0, 1) if leaf.ndim == 4 else range(leaf.ndim)
            name = torch_name(tuple(key.key for key in path), config)
            assert name not in flat
            flat[name] = tuple(leaf.shape[i] for i in order)
    return flat


def full_size(network: str):
    """`config.model` of a released network for HICO-DET."""
    if network == "dla_34":
        return dla_config()
    return model_config(HOURGLASS_104 | {"arch": network})


# --- Names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["hourglassggnet2", "hourglassggnet1", "hourglass", "dla_34"])
def test_every_released_parameter_has_a_place(network):
    """Names and shapes, both ways; left over are counters and DLA's two unused skips."""
    released = reference.released_layout(network)
    ours = shapes_of(full_size(network))
    assert ours.items() <= released.items()
    left = {name for name in released.keys() - ours.keys() if "num_batches" not in name}
    unused = ("base.level3.project.", "base.level4.project.")
    assert all(name.startswith(unused) for name in left)
    assert len(left) == (10 if network == "dla_34" else 0)


@pytest.mark.parametrize(
    ("detector", "config"),
    [
        ("ctdet_coco_hg", full_size("hourglassggnet2")),
        ("ctdet_coco_dla_2x", dla_config(gaze_steps=2, per_verb_offsets=True)),
    ],
)
def test_coco_detectors_give_the_backbone_and_the_object_heads(detector, config):
    layout = reference.released_layout(detector)
    shapes = {name: np.broadcast_to(np.float32(0), shape) for name, shape in layout.items()}
    variables, report = pretrained(shapes, config)
    missing = {name.split(".")[0] for name, _ in report.missing}
    heads = {"hm_rel", "sub_offset", "obj_offset"}
    heads |= {f"{part}{step}" for part in ("hm_dcn", "refine_dcn", "refine_head") for step in "12"}
    assert missing == heads
    assert {name.split(".")[0] for name in report.loaded} >= {"hm", "wh", "reg"}
    assert all("num_batches" in n or "project" in n for n, _ in report.skipped)
    assert len(report.loaded) + len(report.skipped) == len(shapes)
    assert len(report.loaded) + len(report.missing) == len(jax.tree.leaves(variables))


def test_heads_and_backbone_are_told_apart():
    names = reference.released_layout("hourglassggnet2")
    backbone = {"pre", "kps", "cnvs", "inters", "inters_", "cnvs_"}
    for name in names:
        assert is_head(name) == (name.split(".")[0] not in backbone)


@pytest.mark.parametrize("aggregation", ["both", "act_points"])
def test_networks_that_were_never_released_have_names_too(aggregation):
    """So that they can start from a detector; their own parameters are heads to begin afresh."""
    config = full_size("hourglass")
    ours = shapes_of(change(config, aggregation=aggregation))
    other = {name for name in ours if name not in reference.released_layout("hourglass")}
    assert all(map(is_head, other))
    assert bool(other) == (aggregation == "act_points")


# --- Conversion ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    """A small released network: its configuration and weights."""
    arrays, meta = reference.load("forward_hourglassggnet2")
    weights = reference.weights_of(arrays)
    return model_config(meta), weights


def test_layouts_and_colour_order(small):
    config, weights = small
    params = from_torch(weights, config)["params"]
    stem = params["backbone"]["stem_conv"]["conv"]["kernel"]
    for ours, theirs in enumerate((2, 1, 0)):  # R, G, B out of B, G, R
        expected = weights["pre.0.conv.weight"][5, theirs]
        np.testing.assert_array_equal(stem[:, :, ours, 5], expected)
    kernel = params["heads1"]["interactions"]["gaze2"]["kernel"]
    np.testing.assert_array_equal(kernel[3, 1, 7, 2], weights["refine_dcn2.1.weight"][2, 7, 3, 1])
    assert kernel.flags.c_contiguous and kernel.dtype == np.float32


def test_prefixes_half_precision_and_counters(small):
    config, weights = small
    expected = jax.tree.leaves(from_torch(weights, config))
    prefixed = {f"module.{name}": array for name, array in weights.items()}
    for a, b in zip(expected, jax.tree.leaves(from_torch(prefixed, config)), strict=True):
        np.testing.assert_array_equal(a, b)
    half = {name: array.astype(np.float16) for name, array in weights.items()}
    assert {leaf.dtype for leaf in jax.tree.leaves(from_torch(half, config))} == {
        np.dtype("float32")
    }
    without = {name: a for name, a in weights.items() if "num_batches" not in name}
    assert len(jax.tree.leaves(from_torch(without, config))) == len(expected)


def test_report_accounts_for_every_parameter(small):
    config, weights = small
    _, report = convert(weights, config)
    assert [*report.loaded] == [name for name in weights if "num_batches" not in name]
    assert len(report.skipped) == sum("num_batches" in name for name in weights)
    assert not report.missing
    table = report.table()
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()}
    assert rows["part"] == ["loaded", "skipped", "missing"]
    assert rows["all"] == [str(len(report.loaded)), str(len(report.skipped)), "0"]
    assert int(rows["kps"][0]) == sum(name.startswith("kps.") for name in report.loaded)
    assert f"{len(report.skipped)} num_batches_tracked" in table


def change(config, **fields):
    return type(config)(**(vars(config) | fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gaze_steps": 1}, r"gaze_steps=2 .* has gaze_steps=1; .* --config.model.gaze_steps=2"),
        ({"backbone": "dla34"}, r"--config.model.backbone=hourglass"),
        ({"stacks": 1}, r"--config.model.stacks=2"),
        ({"per_verb_offsets": False}, r"--config.model.per_verb_offsets=True"),
        ({"num_verbs": 25}, r"knows 7 verbs, the config's vocabulary has 25"),
        ({"num_objects": 4}, r"knows 5 objects, the config's vocabulary has 4"),
        ({"widths": (32, 48, 48)}, r"kps.0.* is .*32.* in the file, .*48.* here"),
        ({"widths": (32, 32)}, r"blocks"),
        ({"widths": (32, 32), "blocks": (1, 2)}, r"has \d+ that the network has no place for"),
        ({"blocks": (2, 1, 2)}, r"lacks \d+ parameters of the network \(kps.0.low1.1"),
        ({"act_points": 9}, r"refine_dcn1.* in the file, .* here"),
        ({"head_width": 16}, r"in the file, 16"),
        ({"dtype": "int8"}, r"^config.model.dtype is 'int8'"),
    ],
)
def test_config_of_another_network(small, fields, message):
    config, weights = small
    with pytest.raises(UserError, match=message) as error:
        from_torch(weights, change(config, **fields))
    assert "\n" not in str(error.value)


def test_incomplete_and_foreign_weights(small):
    config, weights = small
    gone = {k: v for k, v in weights.items() if k != "kps.1.low3.0.bn1.bias"}
    with pytest.raises(UserError, match=r"lacks 1 parameters .*\(kps.1.low3.0.bn1.bias\)"):
        from_torch(gone, config)
    with pytest.raises(UserError, match=r"has 1 that .* no place for \(extra.weight\)"):
        from_torch(weights | {"extra.weight": np.zeros(3)}, config)
    with pytest.raises(UserError, match=r"no checkpoint of GGNet.* 'conv1.weight'"):
        from_torch({"conv1.weight": np.zeros((64, 3, 7, 7))}, config)
    with pytest.raises(UserError, match="'nothing'"):
        from_torch({}, config)


def test_a_start_takes_what_fits(small):
    """Another vocabulary, another number of gaze steps: those heads start afresh, by name."""
    config, weights = small
    other = change(config, num_verbs=9, gaze_steps=1)
    variables, report = pretrained(weights, other)
    missing = dict(report.missing)
    assert missing["hm_rel.0.1.weight"] == "7x32x1x1 in the file, 9x32x1x1 here"
    assert missing["refine_dcn.1.weight"] == "not in the file"
    assert "hm_rel.0.0.conv.weight" in report.loaded  # the head's first layer is the same
    assert ("refine_dcn1.0.weight", "not a parameter of this network") in report.skipped
    assert all(is_head(name) for name in missing)

    initial = jax.tree.map(lambda leaf: np.full(leaf.shape, 7.0), expected_variables(other))
    filled = fill(variables, initial)
    heads = filled["params"]["heads0"]["interactions"]
    assert (heads["glance_classifier"]["kernel"] == 7).all()
    np.testing.assert_array_equal(heads["glance_conv"]["bias"], weights["hm_rel.0.0.conv.bias"])
    assert not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(filled))

    with pytest.raises(UserError, match=r"--config.model.backbone=hourglass"):
        pretrained(weights, dla_config())
    with pytest.raises(UserError, match="in the file"):
        pretrained(weights, change(config, stem_width=8))


# --- Files ---------------------------------------------------------------------------------------


def tensors(torch, weights):
    return {name: torch.tensor(array) for name, array in weights.items()}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_formats(torch, tmp_path, small, legacy, wrapped):
    config, weights = small
    content = tensors(torch, {f"module.{k}": v for k, v in weights.items()})
    if wrapped:
        optimizer = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": []}
        content = {"epoch": 140, "state_dict": content, "optimizer": optimizer}
    path = tmp_path / "model.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    read = read_state_dict(path)
    assert read.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(read[name], array)
    from_torch(read, config)


def test_half_precision_files(torch, tmp_path):
    values = torch.tensor([1.5, -2.0])
    torch.save({"a": values.bfloat16(), "b": values.half()}, tmp_path / "half.pth")
    for array in read_state_dict(tmp_path / "half.pth").values():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, [1.5, -2.0])


class Malicious:
    """Unpickling it with Python's own pickle makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_a_checkpoint_cannot_run_code(torch, tmp_path, kind):
    folder, path = tmp_path / "harm", tmp_path / "evil.pth"
    content = {"state_dict": {"pre.0.conv.weight": Malicious(folder)}}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(UserError) as error:
        read_state_dict(path)
    assert not folder.exists()
    if kind != "pickle":
        assert "mkdir" in str(error.value) and "refused" in str(error.value)
        # The file is what it claims to be: an unpickler without care runs it.
        torch.load(path, weights_only=False)
        assert folder.exists()


def test_files_that_are_no_checkpoints(torch, tmp_path, small):
    _, weights = small
    path = tmp_path / "model.pth"
    with pytest.raises(UserError, match=r"there is no file .*model.pth"):
        read_state_dict(path)
    for legacy in (False, True):
        torch.save(tensors(torch, weights), path, _use_new_zipfile_serialization=not legacy)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match="cut short"):
            read_state_dict(path)
    for content in (b"", b"not a checkpoint", b"\x89PNG\r\n\x1a\n" + bytes(64)):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as a PyTorch checkpoint") as error:
            read_state_dict(path)
        assert "\n" not in str(error.value)
    for content, what in (([1, 2], "list"), ({}, "dict"), (torch.zeros(3), "Tensor")):
        torch.save(content, path)
        with pytest.raises(UserError, match=f"holds {what}, not the parameters"):
            read_state_dict(path)
    torch.save({"model": {"a": torch.zeros(2)}}, path)
    with pytest.raises(UserError, match="entry 'model' is dict"):
        read_state_dict(path)


def test_the_line_to_type_without_pytorch(monkeypatch, tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="pip install torch"):
        read_state_dict(path)


# --- The command ---------------------------------------------------------------------------------


def tiny_checkpoint(torch, path, *, drop=(), **changes):
    """A checkpoint of the tiny network with the embedded data set's classes, and its config."""
    config = tiny_config()
    config.model.update(changes)
    vocabulary = vocabularies.load("figures_hoi")
    resolved = config.copy_and_resolve_references()
    resolved.model.update(
        num_verbs=vocabulary.num_verbs, num_objects=vocabulary.num_objects, **changes
    )
    weights = reference.state_dict(shapes_of(resolved.model))
    weights = {k: v for k, v in weights.items() if k.split(".")[0] not in drop}
    torch.save({"state_dict": tensors(torch, weights)}, path)
    return config, weights


def test_import_makes_a_run(torch, tmp_path, capsys):
    from ggnet_jax.torch_import.command import import_checkpoint

    config, weights = tiny_checkpoint(torch, tmp_path / "model.pth")
    import_checkpoint(tmp_path / "model.pth", config, tmp_path / "new" / "run")
    folder = tmp_path / "new" / "run"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["run"]
    assert "2 gaze steps" in capsys.readouterr().out

    saved = workdir.load_config(folder)
    vocabulary = vocabularies.load("figures_hoi")
    assert saved.model.num_verbs == vocabulary.num_verbs
    classes = workdir.read_vocabulary(folder)
    assert classes["verbs_of_object"] == vocabulary.valid_pairs.T.tolist()
    variables, step = checkpoints.load_variables(folder)
    assert step == 0
    expected = from_torch(weights, saved.model)
    assert jax.tree.structure(variables) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(variables), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)

    with pytest.raises(UserError, match="already holds a run"):
        import_checkpoint(tmp_path / "model.pth", config, folder)


def test_import_into_an_empty_folder(torch, tmp_path):
    from ggnet_jax.torch_import.command import import_checkpoint

    config, _ = tiny_checkpoint(torch, tmp_path / "model.pth")
    (tmp_path / "run").mkdir()
    import_checkpoint(tmp_path / "model.pth", config, tmp_path / "run")
    assert workdir.is_run(tmp_path / "run")


def test_failed_imports_write_nothing(torch, tmp_path, monkeypatch):
    from ggnet_jax.torch_import import command

    config, _ = tiny_checkpoint(torch, tmp_path / "model.pth")
    folder = tmp_path / "run"

    def refused(path, config, match, folder=folder):
        with pytest.raises(UserError, match=match):
            command.import_checkpoint(path, config, folder)
        assert not folder.exists() and list(tmp_path.glob("run*")) == []

    refused(tmp_path / "none.pth", config, "no file")
    other = tiny_config()
    other.model.gaze_steps = 1
    refused(tmp_path / "model.pth", other, "--config.model.gaze_steps=2")
    other = tiny_config()
    other.data.name = "json"
    refused(tmp_path / "model.pth", other, "--config.data.vocabulary")
    other.data.vocabulary = "v_coco"
    refused(tmp_path / "model.pth", other, "verbs")

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command.Checkpoints, "save", full_disk)
    refused(tmp_path / "model.pth", config, "No space left")

    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="files that no run made"):
        command.import_checkpoint(tmp_path / "model.pth", config, tmp_path / "theirs")
    assert [p.name for p in (tmp_path / "theirs").iterdir()] == ["thesis.txt"]


GAZE_HEADS = tuple(f"{part}{n}" for part in ("hm_dcn", "refine_dcn", "refine_head") for n in (1, 2))
DETECTOR_LACKS = ("hm_rel", "sub_offset", "obj_offset", *GAZE_HEADS)


def test_import_of_a_detector_starts_its_interaction_heads_afresh(torch, tmp_path, capsys):
    from ggnet_jax.torch_import.command import import_checkpoint

    config, weights = tiny_checkpoint(torch, tmp_path / "model.pth", drop=DETECTOR_LACKS)
    report = import_checkpoint(tmp_path / "model.pth", config, tmp_path / "run")
    printed = capsys.readouterr().out
    assert "start afresh: train before you use the network" in printed
    assert {name.split(".")[0] for name, _ in report.missing} == set(DETECTOR_LACKS)
    for name, _ in report.missing:
        assert name in printed
    variables, _ = checkpoints.load_variables(tmp_path / "run")
    heads = variables["params"]["heads0"]
    np.testing.assert_allclose(heads["interactions"]["glance_classifier"]["bias"], -2.19)
    assert not heads["interactions"]["gaze1"]["offset_conv"]["kernel"].any()
    np.testing.assert_array_equal(
        heads["objects"]["box_size"]["out"]["bias"], weights["wh.0.1.bias"]
    )


def test_from_torch_wants_a_whole_network(small):
    """A detector's missing heads are never made up behind one's back."""
    config, weights = small
    detector = {k: v for k, v in weights.items() if k.split(".")[0] not in DETECTOR_LACKS}
    with pytest.raises(UserError, match=r"--config.init_from=FILE"):
        from_torch(detector, config)


@pytest.mark.slow
def test_command_line(torch, tmp_path):
    """As a user types it: exit status 2 and one line for a mistake, 0 and a run otherwise."""
    import subprocess

    repository = Path(__file__).resolve().parents[1]
    _, _ = tiny_checkpoint(torch, tmp_path / "model.pth")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "ggnet_jax.torch_import", *map(str, arguments)],
            cwd=repository,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(repository / "tests")},
            capture_output=True,
            text=True,
            timeout=300,
        )

    given = ("--config=tests/tiny_config.py", f"--workdir={tmp_path / 'run'}")
    good = run(f"--checkpoint={tmp_path / 'model.pth'}", *given)
    assert good.returncode == 0, good.stderr
    assert "all" in good.stdout and "wrote" in good.stdout
    assert (tmp_path / "run" / "checkpoints" / "0").is_dir()
    for arguments in (
        given,
        (f"--checkpoint={tmp_path / 'none.pth'}", "--config=tests/tiny_config.py",
         f"--workdir={tmp_path / 'other'}"),
        (f"--checkpoint={tmp_path / 'model.pth'}", *given, "--config.model.nonsense=1"),
        (f"--checkpoint={tmp_path / 'model.pth'}", *given, "stray"),
    ):  # fmt: skip
        bad = run(*arguments)
        assert bad.returncode == 2, bad.stderr
        assert bad.stderr.startswith("error: ") and bad.stderr.count("\n") == 1
    assert not (tmp_path / "other").exists()


# --- Training ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_training_starts_from_a_detector_and_goes_on_from_an_import(torch, tmp_path, capsys):
    """`config.init_from`, and fine-tuning in an imported workdir, on the embedded data set."""
    from ggnet_jax.torch_import.command import import_checkpoint
    from ggnet_jax.training import loop

    config, weights = tiny_checkpoint(torch, tmp_path / "detector.pth", drop=DETECTOR_LACKS)
    config.data.data_dir = str(tmp_path / "data")
    config.learning_rate = 0.0
    config.init_from = str(tmp_path / "wrong.pth")
    with pytest.raises(UserError, match="no file"):
        loop.train(config, tmp_path / "started")
    assert not (tmp_path / "started").exists()

    config.init_from = str(tmp_path / "detector.pth")
    result = loop.train(config, tmp_path / "started")
    assert result.finished
    assert "hm_rel.0.0.conv.weight" in capsys.readouterr().out
    variables, _ = checkpoints.load_variables(tmp_path / "started")
    # Nothing was learnt at a rate of zero, so that the detector's weights are still there.
    backbone = variables["params"]["backbone"]["stem_conv"]["conv"]["kernel"]
    expected = weights["pre.0.conv.weight"][:, ::-1].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(backbone, expected)
    config.init_from = str(tmp_path / "gone.pth")  # a run that goes on does not need it
    assert loop.train(config, tmp_path / "started").step == result.step

    config, weights = tiny_checkpoint(torch, tmp_path / "model.pth")
    config.data.data_dir = str(tmp_path / "data")
    config.learning_rate = 0.0
    import_checkpoint(tmp_path / "model.pth", config, tmp_path / "imported")
    assert loop.train(config, tmp_path / "imported").step == result.step
    variables, _ = checkpoints.load_variables(tmp_path / "imported")
    model = workdir.load_config(tmp_path / "imported").model
    loaded = from_torch(weights, model)["params"]
    for a, b in zip(jax.tree.leaves(variables["params"]), jax.tree.leaves(loaded), strict=True):
        np.testing.assert_array_equal(a, b)
    create_model(model)
    assert json.loads((tmp_path / "imported" / "vocabulary.json").read_text())["name"]
