"""Pickles as data: what is read, what is refused, and that nothing is run."""

import collections
import contextlib
import io
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest
from prediction_files import CacheTemplate

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.formats import unpickle

ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.eye(3)[:, :2]),
    np.array([1.5, np.nan], ">f4"),
    np.array(["a", "bc"]),
    np.array([1, None, "x"], object),
    np.empty((0, 9), np.float32),
]


@pytest.mark.parametrize("protocol", range(6))
def test_containers_numbers_and_arrays_come_back(protocol):
    plain = [
        {"a": 1, 2: [1.5, -(10**30), True, None]},
        (1, ("é", b"\xff\x00")),
        {1, 2},
        collections.OrderedDict(b=2),
        collections.defaultdict(list, {"c": [3]}),
        "x" * 70000,
    ]
    found = unpickle.load("f", pickle.dumps(plain, protocol))
    assert found == [*plain[:3], {"b": 2}, {"c": [3]}, plain[5]]
    found = unpickle.load("f", pickle.dumps([np.float32(0.1), np.int64(7), *ARRAYS], protocol))
    assert found[:2] == [float(np.float32(0.1)), 7]
    for array, expected in zip(found[2:], ARRAYS, strict=True):
        np.testing.assert_array_equal(np.asarray(array), expected)
        assert np.asarray(array).dtype == expected.dtype


def test_a_cache_of_any_module():
    cache = CacheTemplate(image_id=1, person_box=[0.0, 1.0, 2.0, 3.0])
    for module in (b"utils", b"__main__", b"pvic.utils"):
        data = pickle.dumps([cache, cache], 2).replace(b"prediction_files", module)
        found = unpickle.load("f", data)
        assert found == [cache, cache]
        assert all(isinstance(one, unpickle.Filled) for one in found)


def test_python_2():
    """Its strings are bytes, and NumPy's data too."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
        b"I00\nU\x10" + struct.pack("<2d", 1.5, -2.0) + b"tb"
    )
    found = unpickle.load("f", b"(dp0\nS'caf\\xe9'\np1\n" + array + b"sS'n'\nL5L\ns.")
    assert list(found) == ["café", "n"]
    assert np.asarray(found["café"]).tolist() == [1.5, -2.0]
    assert found["n"] == 5


class _Run:
    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


def _global(name):
    module, _, name = name.rpartition(".")
    return f"c{module}\n{name}\n".encode()


CALLS = {
    "os.system": _Run(os.system, "touch DONE"),
    "builtins.eval": _Run(eval, "open('DONE', 'w')"),
    "builtins.exec": _Run(exec, "open('DONE', 'w')"),
    "builtins.getattr": _Run(getattr, "x", "upper"),
    "builtins.bytearray": _Run(bytearray, 10**12),
    "io.open": _Run(open, "DONE", "w"),
    "numpy.load": _Run(np.load, "DONE", None, True),
    "numpy.zeros": _Run(np.zeros, 10**12),
    "collections.deque": collections.deque([1]),
    "copyreg._reconstructor": _Run.__new__(_Run),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_what_would_run_code_is_named_and_not_run(name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = CALLS[name]
    data = _global(name) + b"(U\x04DONEtR." if name.startswith("copyreg") else None
    data = data or pickle.dumps([{"image_id": value}], protocol)
    with pytest.raises(
        UserError, match=r"f is a pickle that asks for '[\w.]+'.*not opened"
    ) as caught:
        unpickle.load("f", data)
    assert name.rpartition(".")[2] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "data",
    [
        b"ios\nsystem\nS'touch DONE'\n.",  # INST
        b"(cos\nsystem\nS'touch DONE'\no.",  # OBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04DONE\x85R.",  # STACK_GLOBAL
        b"Pos\n.",  # persistent id
        b"\x80\x02]Q.",
        b"cprediction_files\nCacheTemplate.__init__.__globals__\n.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00.",
    ],
)
def test_other_ways_to_call(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^f is a (damaged )?pickle"):
        unpickle.load("f", data)
    assert not list(tmp_path.iterdir())


def test_attributes_of_stand_ins_last_for_one_file():
    for name in (b"utils\nCacheTemplate", b"numpy\ndtype", b"collections\ndefaultdict"):
        with contextlib.suppress(UserError):
            unpickle.load("f", b"c" + name + b"\n(N}S'__call__'\nI1\nstb0].")
    assert len(unpickle.load("f", pickle.dumps([CacheTemplate(a=1)], 2))[0]) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # numbers an object 2**31: room for 32 GB
        b"]p99999999999\n.",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",  # bytes beyond the file
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.",
        b"\x80\x02X\xff\xff\xff\x7fx.",
        pickle.dumps([np.arange(3)], 2).replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"),
        b"\x80\x02]q\x00(",
        b"\x80\x02\x82\x01.",  # an extension
        b"",
        b"\x80\x63.",
        b"\x80\x02}N" + b"\x85" * 300000 + b"Ns.",  # a key that is hashed 300,000 deep
        b"(" * 100000 + b"t" * 100000 + b".",
    ],
)
def test_traps_and_damage_are_one_line(data):
    with pytest.raises(UserError, match=r"^f is a damaged pickle") as caught:
        unpickle.load("f", data)
    assert "\n" not in str(caught.value)


def test_random_changes_are_read_or_one_line():
    rng = np.random.default_rng(0)
    cache = [CacheTemplate(image_id=n, person_box=[0.0, 1.0, 2.5, 3.5]) for n in range(300)]
    read = 0
    for protocol, value in ((0, ARRAYS), (2, cache), (4, cache), (2, ARRAYS), (5, ARRAYS)):
        data = pickle.dumps(value, protocol)
        for _ in range(100):
            changed = bytearray(data)
            changed[rng.integers(len(data))] = rng.integers(256)
            try:
                unpickle.load("f", bytes(changed))
                read += 1
            except UserError as error:
                assert "\n" not in str(error)
    assert read, "most changes are of a number"


def test_the_check_knows_python_s_own_operations():
    """Whatever Python's pickler writes passes, of any size."""
    values = [list(range(300)), {str(i): "x" * i for i in range(300)}, 10**300, b"y" * 300]
    for protocol in range(6):
        data = pickle.dumps(values, protocol)
        assert list(pickletools.genops(io.BytesIO(data)))
        assert unpickle.load("f", data) == values
