"""Files that are given for a checkpoint and are something else: each is named for what it is."""

import gzip
import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch_files

from ggnet_jax.errors import UserError
from ggnet_jax.torch_import import read_state_dict

CHECKPOINT = torch_files.packed(torch_files.zip_members({"a": np.float32([1, 2])}))


def tar(*names: str, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(CHECKPOINT)
            archive.addfile(entry, io.BytesIO(CHECKPOINT))
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


def zipped(*names: str) -> bytes:
    return torch_files.packed(dict.fromkeys(names, CHECKPOINT))


FILES = {
    "nothing": (b"", "an empty file"),
    "zeros": (bytes(5000), "zero bytes"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:a\n", "Git LFS pointer"),
    "annex": (b"/annex/objects/SHA256E-s12--ab.pth\n", "git-annex pointer"),
    "page": (b"\n<!DOCTYPE html><html><title>Sign in", "an HTML page"),
    "old page": (b"\xef\xbb\xbf<HTML>\n<HEAD>", "an HTML page"),
    "saved page": (b"<!-- saved from url --> <html>", "an HTML page"),
    "error of a server": (b"<?xml version='1.0'?><Error><Code>AccessDenied", "an XML document"),
    "JSON": (b'{"message": "Not Found"}', "JSON text"),
    "text": ("Größe: fehlt\n".encode(), "a text file that begins 'Größe: fehlt'"),
    "UTF-16": ("hello".encode("utf-16"), "text in UTF-16"),
    "gzip": (gzip.compress(CHECKPOINT), "a gzip file; unpack it"),
    "tar.gz": (tar("model.pth", mode="w:gz"), "a gzip file; unpack it"),
    "bzip2": (b"BZh91AY", "a bzip2 file; unpack it"),
    "xz": (b"\xfd7zXZ\0\0", "an xz file"),
    "Zstandard": (b"\x28\xb5\x2f\xfd\x04", "a Zstandard file"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    "zip": (zipped("readme.md", "out/model.pth"), "a zip archive around 'out/model.pth'; unpack"),
    "empty zip": (zipped(), "a zip archive without a checkpoint"),
    "tar": (tar("out/model.pth"), "a tar archive around 'out/model.pth'; unpack it"),
    "PyTorch 0.1": (tar("sys_info", "pickle", "tensors", "storages"), "a file of PyTorch 0.1"),
    "TorchScript": (
        zipped("net/data.pkl", "net/constants.pkl", "net/code/__torch__.py", "net/version"),
        "a TorchScript archive; save the state_dict",
    ),
    "package": (zipped("a/.data/extern_modules", "a/b.pkl"), "package or exported program"),
    "exported program": (zipped("a/archive_format", "a/models/model.json"), "exported program"),
    "npz": (npz(), "a file of NumPy arrays"),
    "npy": (b"\x93NUMPY\x01\0", "a NumPy array"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x05", "an ONNX network"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras"),
    "Keras": (zipped("config.json", "model.weights.h5"), "a Keras network"),
    "TensorFlow": (b"x" * 90 + bytes.fromhex("57fb808b247547db"), "a TensorFlow checkpoint"),
    "SavedModel": (b"\x08\x01\x12\xa0\x04", "a graph of TensorFlow's"),
    "TensorFlow's list": (b'model_checkpoint_path: "m"', "TensorFlow's list of checkpoints"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3", "a TensorFlow Lite network"),
    "Flax": (b"\x82\xa6params\x80", "a MessagePack file, as Flax"),
    "MATLAB": (b"MATLAB 5.0 MAT-file", "a MATLAB file"),
    "pickle": (pickle.dumps({"a": np.zeros(3)}), "a Python pickle that torch.save did not write"),
    "old pickle": (pickle.dumps({"a": 1}, 2), "a Python pickle that torch.save did not write"),
    "PNG": (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    "JPEG": (b"\xff\xd8\xff\xe0\0", "a JPEG image"),
    "PDF": (b"%PDF-1.7", "a PDF document"),
    "half": (CHECKPOINT[: len(CHECKPOINT) // 2], "its end is missing"),
    "noise": (np.random.default_rng(0).bytes(4000), "its first bytes are those of no known format"),
}  # fmt: skip


def refused(path, match):
    with pytest.raises(UserError, match=match) as error:
        read_state_dict(path)
    message = str(error.value)
    assert "\n" not in message and str(path) in message


@pytest.mark.parametrize("name", FILES)
def test_files(tmp_path, name):
    content, message = FILES[name]
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    refused(path, f"cannot be read as a PyTorch checkpoint: .*{message}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.onnx", "an ONNX network"),
        ("model.ckpt.data-00000-of-00001", "a part of a TensorFlow checkpoint"),
        ("model.ckpt.meta", "a part of a TensorFlow checkpoint"),
        ("frozen.pb", "a graph of TensorFlow's"),
    ],
)
def test_names(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"\x0c\x22\x01\x02")
    refused(tmp_path / name, message)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("readme.md", "it is a folder; give the .pth file in it"),
        ("archive/data.pkl", "an unpacked .pth file"),
        ("checkpoints/0/variables", "the workdir of a run; give it as --workdir"),
        ("__0_0.distcp", "a distributed checkpoint of PyTorch's"),
        ("saved_model.pb", "a folder of TensorFlow's"),
    ],
)
def test_folders(tmp_path, inside, message):
    place = tmp_path / "model.pth" / inside
    place.parent.mkdir(parents=True)
    place.write_bytes(b"")
    refused(tmp_path / "model.pth", message)


def test_what_is_no_file(tmp_path):
    path = tmp_path / "model.pth"
    refused(path, "there is no file")
    path.symlink_to(path)
    refused(path, "there is no file")
    path.unlink()
    os.mkfifo(path)
    refused(path, "not a regular file")


def test_a_checkpoint_behind_other_bytes_is_read(tmp_path):
    """As zip files may have them: a script before, a line feed after."""
    for content in (b"#!/bin/sh\n" + CHECKPOINT, CHECKPOINT + b"\n"):
        (tmp_path / "model.pth").write_bytes(content)
        np.testing.assert_array_equal(read_state_dict(tmp_path / "model.pth")["a"], [1, 2])
    assert zipfile.is_zipfile(tmp_path / "model.pth")


def test_an_encrypted_archive(tmp_path):
    content = bytearray(CHECKPOINT)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(mark)
        while at >= 0:
            content[at + place] |= 1
            at = content.find(mark, at + 1)
    (tmp_path / "model.pth").write_bytes(content)
    refused(tmp_path / "model.pth", "an encrypted zip archive; decrypt it")


def test_looking_into_a_file_takes_neither_time_nor_memory(tmp_path):
    """Comments that could be cut in 2**585 ways; names of tar files that are said to be huge."""
    path = tmp_path / "model.pth"
    path.write_bytes(b"<!---->" * 600)
    refused(path, "a text file")
    for count, size in ((1, 8**11 - 1), (3000, 10)):
        entry = tarfile.TarInfo("long")
        entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, size
        path.write_bytes((entry.tobuf() + b"name".ljust(512, b"\0")) * count)
        refused(path, "cannot be read as a PyTorch checkpoint")
