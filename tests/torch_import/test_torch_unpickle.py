"""Pickles that want more than to be read: code, memory, the stack."""

import argparse
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch_files
from torch_files import LEGACY_START

from ggnet_jax.errors import UserError
from ggnet_jax.torch_import import read_state_dict, unpickle


def write(path, form, program):
    """A file whose pickle is `program`, in one of PyTorch's formats."""
    method = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}.get(form)
    if method is None:
        path.write_bytes(LEGACY_START + program + pickle.dumps([], 2))
    else:
        path.write_bytes(torch_files.packed({"model/data.pkl": program}, method))


def refused(path, match):
    with pytest.raises(UserError, match=match) as error:
        read_state_dict(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", ["stored", "deflated", "legacy"])
@pytest.mark.parametrize("place", ["entry", "beside", "key", "state"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_is_called(tmp_path, form, place, protocol):
    """Wherever in a file a call stands, and however a pickle spells it."""
    folder, path = tmp_path / "harm", tmp_path / "evil.pth"

    class Malicious(dict if place == "state" else object):  # type: ignore[misc]
        def __hash__(self):
            return 0

        def __reduce__(self):
            return os.mkdir, (str(folder),)

    evil = Malicious()
    content = {
        "entry": {"state_dict": {"pre.0.conv.weight": evil}},
        "beside": {"state_dict": {}, "optimizer": [evil]},
        "key": {"state_dict": {evil: 3}},
        "state": evil,
    }[place]
    program = pickle.dumps(content, protocol)
    write(path, form, program)
    refused(path, "wants '(posix|nt).mkdir' to be called: refused")
    assert not folder.exists()
    pickle.loads(program)  # the file is what it claims to be
    assert folder.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(X\x04\x00\x00\x00exitt R.",
        b"(X\x04\x00\x00\x00exitios\nsystem\n.",
        b"(cos\nsystem\nX\x04\x00\x00\x00exito.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04exit\x85R.",
        b"\x80\x02cos\nsystem\n)\x81.",
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x02ctorch\nload\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x02ctorch.storage\n_load_from_bytes\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x02cnumpy\nload\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x02cargparse\nNamespace.__init__.__globals__\n)R.",
        b"\x80\x04\x8c\x05torch\x8c\x14Size.__reduce_ex__.x\x93.",
    ],
)
def test_other_calls(tmp_path, program):
    write(tmp_path / "evil.pth", "stored", program)
    refused(tmp_path / "evil.pth", "to be called: refused")


def test_what_lies_beside_weights_is_no_obstacle(tmp_path):
    """A configuration, NumPy's numbers, sets and dates are passed over, not made."""
    beside = {
        "args": argparse.Namespace(lr=1e-4), "best": np.float64(0.3), "seen": {1, 2},
        "rng": np.arange(3), "bytes": b"ab", "point": 1j, "lr": [1e-4, 3], "none": None,
    }  # fmt: skip
    weights = {"a.weight": np.float32([1, 2])}
    for protocol in (2, 3, 4, 5):
        program = pickle.dumps(beside, protocol)[:-1]  # without its STOP
        members = torch_files.zip_members({"state_dict": weights, "beside": program})
        (tmp_path / "model.pth").write_bytes(torch_files.packed(members))
        read = read_state_dict(tmp_path / "model.pth")
        assert read.keys() == weights.keys()
        np.testing.assert_array_equal(read["a.weight"], [1, 2])


LONG = struct.pack("<Q", 1 << 40)
BOMBS = {
    "many sets": b"\x80\x04" + b"\x8f" * 30_000 + b".",
    "nested tuples": b"\x80\x04)" + b"\x85" * 30_000 + b".",
    "nested lists": b"\x80\x04" + b"]" * 9_000 + b"a" * 8_999 + b".",
    "nested tuples as a key": b"\x80\x04})" + b"\x85" * 15_000 + b"Ns.",
    "tuples of two of the last": b"\x80\x04})" + b"2\x86" * 60 + b"Ns.",
    "place in the memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "declared text": b"\x80\x04\x8d" + LONG + b"abc.",
    "declared bytes": b"\x80\x04\x8e" + LONG + b"abc.",
    "declared bytearray": b"\x80\x05\x96" + LONG + b"abc.",
    "declared frame": b"\x80\x04\x95" + LONG + b"N.",
    "declared number": b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
    "negative length": b"\x80\x02\x8b\xff\xff\xff\xffabc.",
    "number in digits": b"I" + b"9" * 100_000 + b"\n.",
    "line without end": b"c" + b"o" * 100_000,
    "empty stack": b"\x80\x02R.",
    "no mark": b"\x80\x02t.",
    "unknown memo": b"\x80\x02h\x01.",
    "extension": b"\x80\x02\x82\x01.",
    "buffer": b"\x80\x05\x97.",
    "no pickle": b"\xff\xfe",
    "long number as a key": b"\x80\x02}\x8b\x10\x27\0\0" + b"\x01" * 10_000 + b"Ns.",
    "cyclic": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
}


@pytest.mark.parametrize("form", ["stored", "legacy"])
@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path, monkeypatch, form, name):
    """One line each, and no more memory than a few times the file's size."""
    monkeypatch.setattr(unpickle, "MOST_OPCODES", 20_000)
    path, program = tmp_path / "bomb.pth", BOMBS[name]
    write(path, form, program)
    tracemalloc.start()
    try:
        refused(path, "cannot be read as a PyTorch checkpoint|not the parameters of a network")
        assert tracemalloc.get_traced_memory()[1] < (8 << 20) + 4 * len(program)
    finally:
        tracemalloc.stop()


def test_mappings_that_share_their_parts_are_seen_once(tmp_path):
    """Fifty levels of fifty references each are 50**50 paths."""
    program = b"\x80\x02}q\x00"
    for level in range(1, 50):
        items = b"".join(b"X\x02\x00\x00\x00%02dh%c" % (item, level - 1) for item in range(50))
        program += b"}q%c(%su" % (level, items)
    write(tmp_path / "model.pth", "stored", program + b".")
    refused(tmp_path / "model.pth", "holds no tensors")
