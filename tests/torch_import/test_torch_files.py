"""Reading PyTorch's archives, legacy files and safetensors: layouts, damage, refusals."""

import json
import random
import struct
import zipfile
from collections import Counter

import numpy as np
import pytest
import torch_files
from torch_files import Tensor

from ggnet_jax.errors import UserError
from ggnet_jax.torch_import import read_state_dict

NUMBERS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
WEIGHTS = {"a.weight": NUMBERS, "a.bias": np.float32([0.5, -1.5]), "b.weight": NUMBERS[0] + 100}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pth"


def refused(path, match) -> str:
    with pytest.raises(UserError, match=match) as error:
        read_state_dict(path)
    message = str(error.value)
    assert "\n" not in message and "npickl" not in message and str(path) in message
    return message


def same(path, expected=WEIGHTS):
    read = read_state_dict(path)
    assert read.keys() == expected.keys()
    for name, array in expected.items():
        assert read[name].shape == array.shape and read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize("old", [False, True])
def test_the_files_of_these_tests_are_those_of_pytorch(torch, path, old):
    half = Tensor(np.float16([1.5, 2.5]))
    torch_files.save(path, {"state_dict": WEIGHTS | {"half": half}, "epoch": 3}, old=old)
    loaded = torch.load(path, weights_only=True)["state_dict"]
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(loaded[name].numpy(), array)
    assert loaded["half"].dtype == torch.float16
    same(path, WEIGHTS | {"half": np.float32([1.5, 2.5])})


@pytest.mark.parametrize("method", ["STORED", "DEFLATED", "BZIP2", "LZMA"])
@pytest.mark.parametrize("folder", ["model/", "", "unpacked/model/", "model\\"])
def test_archives_that_were_packed_again(path, method, folder):
    members = torch_files.zip_members({"state_dict": WEIGHTS})
    members = {name.replace("model/", folder): data for name, data in members.items()}
    if folder.endswith("\\"):
        members = {name.replace("/", "\\"): data for name, data in members.items()}
    members |= {"__MACOSX/model/._data.pkl": b"resource fork"}
    path.write_bytes(torch_files.packed(members, getattr(zipfile, f"ZIP_{method}")))
    same(path)


def test_big_endian_archives(path):
    path.write_bytes(torch_files.packed(torch_files.zip_members(WEIGHTS, "big")))
    same(path)
    members = torch_files.zip_members(WEIGHTS) | {"model/byteorder": b"middle"}
    path.write_bytes(torch_files.packed(members))
    refused(path, "neither little nor big")


@pytest.mark.parametrize("old", [False, True])
def test_views(path, old):
    """Offsets, transposes, expanded dimensions, shared storages, scalars, empty tensors."""
    row = NUMBERS.ravel()
    half = row.astype(np.float16)
    upper = (row.view(np.uint32) >> 16).astype(np.uint16).view(np.float16)
    views = {
        "offset": (Tensor(row, (2, 4), (4, 1), 12), NUMBERS[1, :2]),
        "transposed": (Tensor(row, (4, 2), (1, 12), 4), NUMBERS[:, 1].T),
        "expanded": (Tensor(row, (2, 5, 3), (12, 0, 4)), np.repeat(NUMBERS[:, None, :, 0], 5, 1)),
        "scalar": (Tensor(row, (), (), 7), np.float32(7)),
        "empty": (Tensor(row, (0, 3), (3, 1)), np.zeros((0, 3), np.float32)),
        "half": (Tensor(half, (2, 9), (12, 0), 1), np.repeat(NUMBERS[:, 0, 1:2], 9, 1)),
        "bfloat16": (Tensor(upper, (24,), (1,), kind="BFloat16"), row),
        "long": (Tensor(np.int64([1 << 40])), np.int64([1 << 40])),
    }
    torch_files.save(path, {name: tensor for name, (tensor, _) in views.items()}, old=old)
    same(path, {name: np.asarray(expected) for name, (_, expected) in views.items()})


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(NUMBERS.ravel(), (25,), (1,)),
        Tensor(NUMBERS.ravel(), (4, 6), (6, 1), 1),
        Tensor(NUMBERS.ravel(), (2, 2), (24, 1)),
        Tensor(NUMBERS.ravel(), (2, 2), (-1, 1), 4),
        Tensor(NUMBERS.ravel(), (1,), (1,), -1),
        Tensor(NUMBERS.ravel(), (1 << 62, 1 << 62), (0, 0)),
        Tensor(NUMBERS.ravel(), (1,) * 40, (1,) * 40),
        Tensor(NUMBERS.ravel(), (2, 2), (1,)),
        Tensor(NUMBERS.ravel(), kind="Imaginary"),
    ],
)
def test_views_that_reach_beyond_their_storage(path, tensor, old):
    torch_files.save(path, {"a": tensor}, old=old)
    refused(path, "needs|impossible|unknown type")


def test_huge_views_of_little_take_no_memory(path):
    torch_files.save(path, {"a": Tensor(np.float32([7]), (10**6, 10**6), (0, 0))})
    array = read_state_dict(path)["a"]
    assert array.shape == (10**6, 10**6) and array[12345, 678] == 7


def test_storages_that_are_too_small_missing_or_twofold(path):
    members = torch_files.zip_members(WEIGHTS)
    name = "model/data/0"
    path.write_bytes(torch_files.packed(members | {name: members[name][:-4]}))
    refused(path, "'a.weight': it needs 96 bytes and its member has 92")
    path.write_bytes(torch_files.packed({k: v for k, v in members.items() if k != name}))
    refused(path, f"'a.weight': its numbers, the member {name}, are missing")
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(name, bytes(96))
    refused(path, "2 members 'model/data/0'")


def test_checksums(path):
    """Of everything that is read; PyTorch can leave them out, which makes them all zero."""
    data = torch_files.packed(torch_files.zip_members(WEIGHTS))
    at = data.index(NUMBERS.tobytes()) + 50
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    refused(path, "'a.weight': its member model/data/0 is damaged: the checksum does not fit")
    bare = bytearray(data)
    for mark, place in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        at = data.find(mark)
        while at >= 0:
            bare[at + place : at + place + 4] = bytes(4)
            at = data.find(mark, at + 1)
    path.write_bytes(bare)
    same(path)


def test_what_legacy_files_say_twice_is_compared(path):
    data = torch_files.legacy(WEIGHTS)
    path.write_bytes(data + b"\0")
    refused(path, "1 bytes follow its last storage")
    path.write_bytes(data[:-1])
    refused(path, "it ends inside of its storage '2'")
    keys = data.rindex(b"X\x01\x00\x00\x002")
    path.write_bytes(data[: keys + 5] + b"1" + data[keys + 6 :])
    refused(path, "its list of storages is not that of its tensors")


def safetensors(header, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_safetensors(path):
    upper = NUMBERS.view(np.uint32) >> 16
    header = {
        "__metadata__": {"format": "pt"},
        "module.a.weight": {"dtype": "F32", "shape": [2, 3, 4], "data_offsets": [0, 96]},
        "module.b": {"dtype": "BF16", "shape": [2, 3, 4], "data_offsets": [96, 144]},
        "module.n": {"dtype": "I64", "shape": [], "data_offsets": [144, 152]},
    }
    data = NUMBERS.tobytes() + upper.astype("<u2").tobytes() + struct.pack("<q", 9)
    path.write_bytes(safetensors(header, data))
    same(path, {"a.weight": NUMBERS, "b": NUMBERS, "n": np.full((), 9)})
    path.write_bytes(safetensors(header, data)[:-1])
    refused(path, "its numbers do not end where its header says")
    one = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    for text, message in (
        (b'{"a":' * 100_000, "garbled"),
        (b'{"a": 3}', "garbled"),
        (b'{"a": {"dtype": "F32"}}', "garbled"),
        (f'{{"a": {json.dumps(one)}, "a": {json.dumps(one)}}}'.encode(), "one name"),
        (json.dumps({"a": one | {"shape": [2]}}).encode(), "another size"),
        (json.dumps({"a": one | {"shape": [2**40, 2**40]}}).encode(), "another size"),
        (json.dumps({"a": one | {"data_offsets": [-4, 0]}}).encode(), "another size"),
        (json.dumps({"a": one | {"dtype": "F8_E4M3"}}).encode(), "tensor of F8_E4M3"),
    ):
        path.write_bytes(safetensors(text, bytes(4)))
        refused(path, message)


def test_packed_files_made_to_fill_the_memory(path):
    for name in ("model/data/0", "model/data.pkl", "model/byteorder"):
        members = torch_files.zip_members(WEIGHTS) | {name: bytes(300 << 20)}
        path.write_bytes(torch_files.packed(members, zipfile.ZIP_DEFLATED))
        refused(path, "would unpack to 300 MB from 0 MB")
    path.write_bytes(torch_files.packed({f"{i:050}": b"" for i in range(180_000)}))
    refused(path, "its list of members is longer than that of any checkpoint")


def change(data: bytes, rng: random.Random) -> bytes:
    """A file as a bad disk or an interrupted download leaves it."""
    at, changed = rng.randrange(len(data)), bytearray(data)
    kind = rng.choice(("flip", "flip", "cut", "zeros", "swap", "insert", "remove"))
    length = rng.choice((1, 8, 64, 512))
    if kind == "flip":
        changed[at] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del changed[at:]
    elif kind == "zeros":
        changed[at : at + length] = bytes(len(changed[at : at + length]))
    elif kind == "swap":
        other = rng.randrange(len(data))
        length = min(length, abs(at - other) or 1, len(data) - max(at, other))
        changed[at : at + length] = data[other : other + length]
        changed[other : other + length] = data[at : at + length]
    elif kind == "insert":
        changed[at:at] = rng.randbytes(length)
    else:
        del changed[at : at + length]
    return bytes(changed)


@pytest.mark.parametrize("form", ["stored", "deflated", "legacy"])
def test_random_damage(path, form):
    """The same weights or one line; a legacy file alone has nothing that guards its numbers."""
    rng = np.random.default_rng(0)
    weights = {f"layer{i}.weight": rng.normal(size=40).astype("f4") for i in range(12)}
    if form == "legacy":
        data = torch_files.legacy({"state_dict": weights})
        numbers = range(len(data) - 12 * (8 + 160), len(data))
    else:
        members = torch_files.zip_members({"state_dict": weights})
        data = torch_files.packed(members, getattr(zipfile, f"ZIP_{form.upper()}"))
        numbers = range(0)
    chance, results = random.Random(1), Counter()
    while sum(results.values()) < 300:
        changed = change(data, chance)
        if changed == data:
            continue
        path.write_bytes(changed)
        try:
            read = read_state_dict(path)
        except UserError as error:
            assert "\n" not in str(error)
            results["refused"] += 1
            continue
        equal = read.keys() == weights.keys() and all(
            np.array_equal(read[name], array) for name, array in weights.items()
        )
        if equal or read.keys() != weights.keys():  # conversion names what it lacks
            results["equal" if equal else "names"] += 1
            continue
        touched = [
            at for at, pair in enumerate(zip(data, changed, strict=True)) if len(set(pair)) > 1
        ]
        assert all(at in numbers for at in touched), touched
        results["other numbers"] += 1
    assert results["refused"] > 150
    assert form == "legacy" or results.keys() <= {"refused", "equal"}
