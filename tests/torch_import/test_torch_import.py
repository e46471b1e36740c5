"""Reading and converting PyTorch checkpoints: layouts, files, refusals."""

import os
import pickle
from pathlib import Path

import jax
import numpy as np
import pytest
import reference_weights as reference
import torch_files
from reference_networks import dla_config, model_config
from torch_checkpoints import DETECTOR_LACKS, change

from ggnet_jax.errors import UserError
from ggnet_jax.torch_import import fill, from_torch, pretrained, read_state_dict
from ggnet_jax.torch_import.convert import convert, expected_variables
from ggnet_jax.torch_import.names import is_head

pytestmark = pytest.mark.usefixtures("shapes_once")


@pytest.fixture(scope="module")
def small():
    """A small released network: its configuration and weights."""
    arrays, meta = reference.load("forward_hourglassggnet2")
    weights = reference.weights_of(arrays)
    return model_config(meta), weights


def test_layouts_and_color_order(small):
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
    with pytest.raises(UserError, match=r"not a checkpoint of GGNet.* 'conv1.weight'"):
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


def test_from_torch_wants_a_whole_network(small):
    """A detector's missing heads are never made up behind one's back."""
    config, weights = small
    detector = {k: v for k, v in weights.items() if k.split(".")[0] not in DETECTOR_LACKS}
    with pytest.raises(UserError, match=r"--config.init_from=FILE"):
        from_torch(detector, config)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_formats(torch, tmp_path, small, legacy, wrapped):
    config, weights = small
    content = {f"module.{k}": torch.tensor(v) for k, v in weights.items()}
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


def test_files_that_are_no_checkpoints(tmp_path, small):
    _, weights = small
    path = tmp_path / "model.pth"
    with pytest.raises(UserError, match=r"there is no file .*model.pth"):
        read_state_dict(path)
    for legacy in (False, True):
        torch_files.save(path, weights, old=legacy)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match="cut short"):
            read_state_dict(path)
    for content, what in (((1, 2), "tuple"), ({}, "dict"), (np.float32([1, 2]), "Tensor")):
        torch_files.save(path, content)
        with pytest.raises(UserError, match=f"holds {what}, not the parameters"):
            read_state_dict(path)
    torch_files.save(path, {"epoch": 3, "model": {"a.weight": "gone"}})
    with pytest.raises(UserError, match=r"holds no tensors, .* its entry 'epoch' is int"):
        read_state_dict(path)
    torch_files.save(path, {"a.weight": np.zeros(2, np.float32), "a.bias": 3})
    with pytest.raises(UserError, match=r"entry 'a.bias' is int, not a parameter"):
        read_state_dict(path)


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation:UserWarning")
def test_tensors_without_values(torch, tmp_path):
    """Each is named; PyTorch's own words for them are no help."""
    values, path = torch.ones(2, 2), tmp_path / "model.pth"
    for tensor, what in (
        (torch.quantize_per_tensor(values, 0.1, 0, torch.qint8), "a quantized tensor"),
        (values.to_sparse(), "a sparse tensor"),
        (torch.empty(2, device="meta"), "a tensor on the meta device, which has no values"),
        (values.to(torch.float8_e4m3fn), "a tensor of float8_e4m3fn"),
    ):
        for legacy in (False, True):
            content = {"a.weight": values, "a.bias": tensor}
            torch.save(content, path, _use_new_zipfile_serialization=not legacy)
            with pytest.raises(UserError, match=f"entry 'a.bias' is {what}, not a parameter"):
                read_state_dict(path)


def test_a_network_without_values_at_all(torch, tmp_path):
    empty = torch.nn.Conv2d(3, 4, 1, device="meta").state_dict()
    torch.save({"epoch": 3, "state_dict": empty}, tmp_path / "model.pth")
    with pytest.raises(UserError, match=r"no tensors, .* 'weight' is a tensor on the meta device"):
        read_state_dict(tmp_path / "model.pth")


def test_what_pytorch_saves_beside_plain_tensors(torch, tmp_path):
    """Parameters, attributes, lazy negation, memory layouts: as `torch.load` gives them."""
    layer = torch.nn.Parameter(torch.randn(3, 4, 5, 6).to(memory_format=torch.channels_last))
    layer.note = "an attribute"
    imaginary = torch.conj(torch.randn(5, dtype=torch.complex64)).imag  # negated when it is read
    content = {"a": layer, "b": imaginary, "c": torch.randn(4).double(), "d": torch.tensor(True)}
    for legacy in (False, True):
        path = tmp_path / "model.pth"
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        read = read_state_dict(path)
        for name, tensor in content.items():
            np.testing.assert_array_equal(read[name], tensor.detach().resolve_neg().numpy())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "2 arrays with NaN or infinite values \\(pre.0.bn.running_var, hm.1.1.bias\\)"),
        (-np.inf, "2 arrays with NaN or infinite values"),
        (1e39, "2 arrays with values beyond the range of float32"),
        (-0.5, "1 array of negative variances \\(pre.0.bn.running_var\\)"),
        (1j, "2 arrays of type complex128, not real numbers"),
        ("int8", "2 arrays of type int8, not real numbers"),
    ],
)
def test_weights_that_nothing_can_be_computed_with(small, value, message):
    """Refused by name, in an import and as a start; not where they are not loaded."""
    config, weights = small
    changed = dict(weights)
    for name in ("pre.0.bn.running_var", "hm.1.1.bias"):
        if value == "int8":
            changed[name] = np.zeros(weights[name].shape, np.int8)
        else:
            changed[name] = weights[name].astype(np.result_type(value, np.float64))
            changed[name].flat[-1] = value
    for function in (from_torch, pretrained):
        with pytest.raises(UserError, match=message) as error:
            function(changed, config)
        assert "\n" not in str(error.value)
    aside = weights | {"hm.1.1.bias": changed["hm.1.1.bias"]}
    _, report = pretrained(aside, change(config, num_objects=9))
    assert "hm.1.1.bias" in dict(report.skipped)


def test_double_precision_is_rounded_once(small):
    config, weights = small
    double = {name: array.astype(np.float64) for name, array in weights.items()}
    ours = from_torch(double, config)
    for a, b in zip(
        jax.tree.leaves(ours), jax.tree.leaves(from_torch(weights, config)), strict=True
    ):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b)
