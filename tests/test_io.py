"""Reading and writing files: what is accepted, how the rest is named, what a failure leaves."""

import bz2
import codecs
import gzip
import json
import lzma
import os
import pickle
import sys
import tarfile
import zipfile
from io import BytesIO

import numpy as np
import pytest

from ggnet_jax import io
from ggnet_jax.errors import UserError

CONTENT = [{"file_name": "köpek.jpg", "score": 0.5}, {"file_name": "b.jpg", "score": 1}]
TEXT = json.dumps(CONTENT, ensure_ascii=False)
PACKED = gzip.compress(TEXT.encode(), mtime=0)


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "data",
    [
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        TEXT.encode("utf-32-le"),
        TEXT.encode("utf-32-be"),
        TEXT.encode(),
    ],
)
def test_every_unicode_encoding_packed_or_not(tmp_path, data, packed, indent):
    """Whether a file is packed is seen from its content, not from its name."""
    for name in ("a.json", "a.json.gz", "a"):
        path = write(tmp_path / name, gzip.compress(data, mtime=0) if packed else data)
        assert io.read_json(path) == list(io.iterate_json(path, "entries")) == CONTENT


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_json_lines(tmp_path, name):
    text = "\n".join(json.dumps(entry) for entry in CONTENT)
    for ending in ("", "\n", " \r\n\n"):
        path = write(tmp_path / name, (text + ending).encode("utf-16"))
        assert io.read_json(path) == list(io.iterate_json(path, "entries")) == CONTENT
    assert io.read_json(write(tmp_path / name, "")) == []
    with pytest.raises(UserError, match=r"Expecting the end of the line: line 2 column 2"):
        io.read_json(write(tmp_path / name, "1\n2 3\n"))
    with pytest.raises(UserError, match=r"is not JSON: .* line 2 column 7"):
        io.read_json(write(tmp_path / name, '{"a": 1}\n{"a": '))


DEEP = sys.getrecursionlimit() * 100
DIGITS = sys.get_int_max_str_digits() + 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON: Expecting value: line 1 column 1"),
        ("[1, ", "is not JSON: Expecting value: line 1 column 5"),
        ('{"a": 1,\n "b" 2}', "is not JSON: Expecting ':' delimiter: line 2 column 6"),
        ("[1] 2", "is not JSON: Extra data: line 1 column 5"),
        ('["NaN", "\\"Infinity",\n  NaN]', "JSON: NaN is not a JSON number: line 2 column 3"),
        ("[1, -Infinity]", "is not JSON: -Infinity is not a JSON number: line 1 column 5"),
        ('["[[[",\n  {"a": ' + DEEP * "[", "is not JSON: nested too deeply: line 2 column"),
        ("\n" + DEEP * "[", rf"is not JSON: nested too deeply: line 2 column {DEEP} "),
        ('["' + DIGITS * "1" + '",\n ' + DIGITS * "2" + "]",
         rf"is not JSON: a number of more than {DIGITS - 1} digits: line 2 column 2"),
        (b'["a",\n "\xe9"]', r"cannot read .*: it is not UTF-8 text \(.* at byte 8, line 2\)"),
        (b"\xff\xd8\xff\xe0", "cannot read .*: it is not UTF-8 text"),
        (codecs.BOM_UTF16_LE + b"a", "cannot read .*: it is not UTF-16 text"),
        (PACKED[:-6], "cannot read .*: damaged gzip file"),
        (PACKED[:12], "cannot read .*: damaged gzip file"),
        (PACKED[:10] + b"\xff" * 20, "cannot read .*: damaged gzip file"),
        (PACKED + b"more", "cannot read .*: damaged gzip file"),
        (b"\x1f\x8b\x07" + b"\0" * 20, "cannot read .*: damaged gzip file"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_one_line_with_its_place(tmp_path, content, message):
    path = write(tmp_path / "wrong.json", content)
    with pytest.raises(UserError, match=message) as caught:
        io.read_json(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError) as caught:
        list(io.iterate_json(path, "entries"))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def other_files():
    """Files that are taken for JSON, and how each is called."""
    numbers, packed = np.arange(3), BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.json", TEXT)
    array = BytesIO()
    np.save(array, numbers)
    tape = BytesIO()
    with tarfile.open(fileobj=tape, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.json"))
    data = TEXT.encode()
    return {
        "a zip archive": packed.getvalue(),
        "a bzip2 file": bz2.compress(data),
        "an xz file": lzma.compress(data),
        "a gzip file": gzip.compress(
            gzip.compress(data, mtime=0), mtime=0
        ),  # inside of the first one
        "a Python pickle": pickle.dumps(CONTENT),
        "a Python pickle ": pickle.dumps(CONTENT, protocol=0),
        "a MATLAB file": b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + b" " * 86 + b"\0\1IM\x0e\0",
        "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(50),
        "a NumPy array": array.getvalue(),
        "a tar archive": tape.getvalue(),
        "an HTML page": b"<!DOCTYPE html>\n<html><title>Sign in</title></html>",
        "an HTML page ": b"\n <html><body>404</body></html>",
        "an XML file": b"<?xml version='1.0'?><annotation/>",
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "a JPEG image": b"\xff\xd8\xff\xe0" + bytes(20),
        "a PNG image": b"\x89PNG\r\n\x1a\n" + bytes(20),
    }


@pytest.mark.parametrize(("kind", "content"), other_files().items())
def test_a_file_of_another_kind_is_named_for_what_it_is(tmp_path, kind, content):
    path = write(tmp_path / "predictions.json", content)
    for read in (io.read_json, lambda path: list(io.iterate_json(path, "predictions"))):
        with pytest.raises(UserError, match=rf"predictions\.json.* {kind.strip()}") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["gb18030", "latin-1", "cp1251", "shift_jis"])
def test_text_of_another_encoding_is_named_with_its_byte(tmp_path, encoding):
    name = {"latin-1": "café", "cp1251": "чашка"}.get(encoding, "茶杯")
    text = json.dumps([{"file_name": name}], ensure_ascii=False)
    path = write(tmp_path / "a.json", text.encode(encoding))
    at = text.index(name) + (3 if encoding == "latin-1" else 0)
    with pytest.raises(
        UserError, match=rf"a\.json: it is not UTF-8 text .* byte {at}, line 1\); s"
    ):
        io.read_json(path)


def test_one_changed_byte_of_a_gzip_file_is_never_read_as_something_else(tmp_path):
    rng = np.random.default_rng(0)
    whole = gzip.compress(json.dumps([CONTENT] * 50).encode())
    refused = 0
    for _ in range(200):
        data = bytearray(whole)
        data[rng.integers(2, len(data))] ^= 1 << rng.integers(8)
        try:
            content = io.read_json(write(tmp_path / "a.json.gz", bytes(data)))
        except UserError as error:
            assert "damaged gzip file" in str(error) and "\n" not in str(error)
            refused += 1
        else:  # in its header: time, name, operating system
            assert content == [CONTENT] * 50
    assert refused > 150


def test_a_small_file_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "_UNPACKED", 1 << 20)
    monkeypatch.setattr(io, "_CHUNK", 1 << 16)
    bomb = write(tmp_path / "a.json", gzip.compress(b"[" + b" " * (1 << 23) + b"]"))
    with pytest.raises(UserError, match=r"a\.json: its .* bytes unpack to more than 1,.*gunzip"):
        io.read_json(bomb)
    allowed = write(tmp_path / "b.json", gzip.compress(b"[" + b" " * (1 << 19) + b"]"))
    assert io.read_json(allowed) == []


def test_a_device_is_no_file_and_a_pipe_is_one(tmp_path):
    with pytest.raises(UserError, match="cannot read /dev/zero: it is a device"):
        io.read_json("/dev/zero")
    reading, writing = os.pipe()  # as the shell's <(zcat FILE) names one
    with os.fdopen(reading), os.fdopen(writing, "wb") as pipe:
        pipe.write(TEXT.encode())
        pipe.close()
        assert io.read_json(f"/dev/fd/{reading}") == CONTENT


def test_paths_that_are_no_file_are_named(tmp_path):
    for path in (tmp_path / "none.json", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(UserError, match="cannot read") as caught:
            io.read_json(path)
        assert str(caught.value).count(str(tmp_path)) == 1


@pytest.mark.parametrize("text", ["[]", " [ ] \n", "[\n]\n"])
def test_an_empty_list_is_a_list(tmp_path, text):
    path = write(tmp_path / "a.json", text)
    assert io.read_json(path) == list(io.iterate_json(path, "entries")) == []


@pytest.mark.parametrize("text", ["{}", "", '"[]"', "3"])
def test_a_list_is_asked_for(tmp_path, text):
    with pytest.raises(UserError, match=r"a\.json: predictions must be a JSON list"):
        list(io.iterate_json(write(tmp_path / "a.json", text), "predictions"))


def test_json_lines_under_another_name_are_told(tmp_path):
    lines = "".join(json.dumps(entry) + "\n" for entry in CONTENT)
    with pytest.raises(UserError, match=r"must be a JSON list; these are JSON lines: .*\.jsonl"):
        list(io.iterate_json(write(tmp_path / "a.json", lines), "predictions"))
    with pytest.raises(UserError, match="not an object that begins with the key 'info'"):
        list(io.iterate_json(write(tmp_path / "a.json", '{"info": 1}'), "predictions"))


@pytest.mark.parametrize(
    "text", ["[1 2]", "[1,]", "[,1]", "[1", "[1, 2] 3", "[1}", "[[1, 2]", "[nul]"]
)
def test_a_broken_list_is_refused_as_a_whole_file_is(tmp_path, text):
    path = write(tmp_path / "a.json", text)
    for read in (io.read_json, lambda path: list(io.iterate_json(path, "entries"))):
        with pytest.raises(UserError, match="is not JSON"):
            read(path)


def test_pythons_constants_on_request(tmp_path):
    path = write(tmp_path / "a.json", "[Infinity, -Infinity]")
    expected = [float("inf"), float("-inf")]
    assert io.read_json(path, allow_nan=True) == expected
    assert list(io.iterate_json(path, "numbers", allow_nan=True)) == expected


def test_an_object_is_read_member_by_member(tmp_path):
    text = ' { "a" : [1, 2] , "b": {"c": [3]}, "d": [ ] } \n'
    reader, found = io.JsonReader(write(tmp_path / "a.json", text)), {}
    for key in reader.members():
        found[key] = list(reader.items()) if reader.peek() == "[" else reader.value()
    reader.end()
    assert found == json.loads(text)
    assert reader.fraction == 1
    assert list(io.JsonReader(write(tmp_path / "a.json", "{}")).members()) == []
    for text in ('{"a" 1}', '{"a": 1,}', "{1: 2}", '{"a": 1 "b": 2}', '{"a": 1', "{"):
        with pytest.raises(UserError, match="is not JSON: Expecting"):
            reader = io.JsonReader(write(tmp_path / "a.json", text))
            for _ in reader.members():
                reader.value()


def test_progress_while_reading_a_list(tmp_path):
    path = write(tmp_path / "a.json", json.dumps(list(range(1000))))
    seen = []
    assert list(io.iterate_json(path, "numbers", progress=seen.append)) == list(range(1000))
    assert len(seen) == 4 and sorted(seen) == seen and 0 < seen[0] < seen[-1] <= 1


@pytest.mark.parametrize("content", ["täxt\n", b"\x00\xff", iter(["a", "b"])])
def test_a_file_is_written_whole(tmp_path, content):
    path = write(tmp_path / "a", "old")
    io.write_file(path, content)
    assert path.read_bytes() in ("täxt\n".encode(), b"\x00\xff", b"ab")
    assert os.listdir(tmp_path) == ["a"]


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path):
    path = write(tmp_path / "a.json", "old")

    def failing():
        yield "new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        io.write_file(path, failing())
    with pytest.raises(TypeError):
        io.write_json(path, [1, object()])
    with pytest.raises(TypeError):
        io.write_log(path, [1, object()])
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]
    for wrong in (tmp_path / "none" / "a", path / "a", tmp_path):
        with pytest.raises(UserError, match=f"cannot write {wrong}: "):
            io.write_file(wrong, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


def test_a_draft_is_renamed_when_it_is_whole(tmp_path):
    path = write(tmp_path / "a", "old")

    def content():
        yield "new"
        assert path.read_text() == "old"
        assert sorted(os.listdir(tmp_path)) == ["a", "a" + io.DRAFT]

    io.write_file(path, content())
    assert path.read_text() == "new"


VALUES = [
    [],
    {},
    [[]],
    {"a": {}, "b": [1, {"c": None, "d": "ü"}]},
    "a",
    0.1,
    (1, (2, 3)),
    {1: True},
]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("depth", [None, 0, 1, 2])
def test_json_is_laid_out_to_a_depth(tmp_path, value, depth):
    io.write_json(tmp_path / "a.json", value, depth=depth)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(value))
    if depth is None:
        assert text == json.dumps(value, indent=1) + "\n"
    if depth == 0:
        assert text == json.dumps(value) + "\n"


def test_one_entry_a_line(tmp_path):
    io.write_json(tmp_path / "a.json", [{"a": [1, 2]}, {"a": []}], depth=1)
    assert (tmp_path / "a.json").read_text() == '[\n {"a": [1, 2]},\n {"a": []}\n]\n'


def test_a_log_outlives_a_kill_inside_of_a_line(tmp_path):
    path = tmp_path / "log.jsonl"
    io.repair_log(path)
    io.write_log(path, [{"step": 1}, {"step": 2, "loss": float("nan")}])
    whole = path.read_bytes()
    for torn in (b'{"step": 3', b'{"step": 3, "n": "\xc3', b"{", b'{"step": 3}', b""):
        path.write_bytes(whole + torn)
        assert [entry["step"] for entry in io.read_log(path)] == [1, 2]
        io.repair_log(path)
        assert path.read_bytes() == whole
    path.write_bytes(b"torn\n" + whole)  # somebody appended to it all the same
    assert [entry["step"] for entry in io.read_log(path)] == [1, 2]
    path.write_bytes(b'{"st')
    io.repair_log(path)
    assert list(io.read_log(path)) == []
    with pytest.raises(UserError, match=r"cannot read .*none\.jsonl"):
        list(io.read_log(tmp_path / "none.jsonl"))
