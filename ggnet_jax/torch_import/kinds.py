"""What a file is that was given for a checkpoint and is none, and what to do about it."""

import re
import tarfile
import zipfile
from io import RawIOBase
from pathlib import Path, PurePosixPath
from typing import IO, cast

from ggnet_jax.file_kinds import kind_of

_UNPACK = "unpack it and give the .pth file in it"
_CONVERT = "only PyTorch's .pth files and safetensors are read"
_FETCH = "fetch the checkpoint itself"

# Beside the kinds of `file_kinds`: the first bytes of a file, what it is, what to do.
_STARTS = (
    (rb"(\.\./)*(\.git/annex|/annex)/objects", "a git-annex pointer, not the file itself",
     "run git annex get"),
    (rb"(?i)(\xef\xbb\xbf)?\s*(<!--(?:(?!-->).)*-->\s*)*<(!doctype html|html|head|body|script)",
     "an HTML page, saved in its place",
     "fetch the file itself: the page may ask for a login or a confirmation"),
    (rb"(\xef\xbb\xbf)?\s*<(\?xml|[A-Za-z]+>)", "an XML document, such as a server's error",
     _FETCH),
    (rb"\x89HDF\r\n", "an HDF5 file, as Keras writes its weights", _CONVERT),
    (rb"....TFL3", "a TensorFlow Lite network", _CONVERT),
    (rb"GGUF", "a GGUF file", _CONVERT),
    (rb"model_checkpoint_path:", "TensorFlow's list of checkpoints", _CONVERT),
    (rb"[\x81-\x8f][\xa0-\xbf]\w", "a MessagePack file, as Flax writes its weights", _CONVERT),
    (rb"\xff\xfe|\xfe\xff", "text in UTF-16", _FETCH),
    (rb"\x08\x01\x12|\x0a.{1,4}\x0a", "a graph of TensorFlow's", _CONVERT),
    (rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]", "an ONNX network", _CONVERT),
)  # fmt: skip
# What `file_kinds` calls archives and files of numbers; whatever else it knows is no checkpoint.
_ARCHIVES = re.compile(
    r".*archive|a gzip file|a bzip2 file|an xz file|an LZ4 file|a Zstandard file"
)
_NAMES = (
    (r"\.onnx", "an ONNX network", _CONVERT),
    (r"\.(data-\d{5}-of-\d{5}|index|meta)", "a part of a TensorFlow checkpoint", _CONVERT),
    (r"\.pb", "a graph of TensorFlow's", _CONVERT),
    (r"\.caffemodel", "a Caffe network", _CONVERT),
    (r"\.engine|\.trt|\.plan", "a TensorRT engine", _CONVERT),
    (r"\.npz|\.npy", "a file of NumPy arrays", _CONVERT),
    (r"\.h5|\.hdf5|\.keras", "a Keras network", _CONVERT),
)
_LEVELDB_END = bytes.fromhex("57fb808b247547db")


def of_folder(path: Path) -> tuple[str, str]:
    """What a folder is that was given for a file, and what to do."""
    names = {entry.name for entry in path.iterdir()}
    if {"config.json", "vocabulary.json"} <= names or "checkpoints" in names:
        return "the workdir of a run", "give it as --workdir"
    if "data.pkl" in names or any(path.glob("*/data.pkl")):
        return "an unpacked .pth file", "give the .pth file itself"
    if any(name.endswith(".distcp") for name in names):
        return (
            "a distributed checkpoint of PyTorch's",
            "make one file of it with torch.distributed.checkpoint.format_utils.dcp_to_torch_save",
        )
    if "saved_model.pb" in names or any(name.endswith(".index") for name in names):
        return "a folder of TensorFlow's", _CONVERT
    return "a folder", "give the .pth file in it"


def of_file(path: Path) -> tuple[str, str] | None:
    """What a file is that is neither an archive nor a checkpoint, and what to do.

    None for a file with the first bytes of a checkpoint, or with none that are known.
    """
    with open(path, "rb") as file:
        start = file.read(4096)
        file.seek(max(0, path.stat().st_size - 8))
        end = file.read()
    if not start:
        return "an empty file", "fetch it again"
    if end == _LEVELDB_END:
        return "the index of a TensorFlow checkpoint", _CONVERT
    for pattern, what, todo in _STARTS:
        if re.match(pattern, start, re.DOTALL):
            return what, todo
    for pattern, what, todo in _NAMES:
        if re.fullmatch(pattern, path.suffix.lower()):
            return what, todo
    kind = kind_of(start)
    if kind == "a Python pickle":
        return (
            "a Python pickle that torch.save did not write, or one that is cut short",
            "save the state_dict with torch.save",
        )
    if kind and not start.startswith(b"PK"):  # a zip file without its end is cut short
        what, _, todo = kind.partition("; ")
        return what, todo or (_UNPACK if _ARCHIVES.fullmatch(kind) else _CONVERT)
    if not start.strip(b"\0"):
        return (
            "a file that begins with zero bytes alone",
            "fetch it again: its download was interrupted",
        )
    return _of_text(start)


def _of_text(start: bytes) -> tuple[str, str] | None:
    try:
        text = start.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return None
        text = start[: error.start].decode("utf-8-sig")
    if any(c < " " and c not in "\t\n\r\f" for c in text):
        return None
    if text.lstrip()[:1] in ("{", "["):
        return "JSON text", _FETCH
    line = text.strip().splitlines()[0][:60] if text.strip() else ""
    return f"a text file that begins {line!r}", _FETCH


def of_tar(file: RawIOBase) -> tuple[str, str] | None:
    """What a tar archive is and what to do; None if the file is none."""
    try:
        with tarfile.open(fileobj=cast(IO[bytes], file), mode="r:") as archive:
            names = []
            while len(names) < 20 and (member := archive.next()):
                names.append(member.name)
    except Exception:  # tarfile raises what its parser stumbles over
        return None
    if not names:
        return None
    if {"storages", "tensors"} <= set(names):
        return "a file of PyTorch 0.1", "load it with torch.load and save it with torch.save"
    return f"a tar archive{_weights_among(names)}", _UNPACK


def of_zip(archive: zipfile.ZipFile) -> tuple[str, str] | None:
    """What a zip file is whose `data.pkl` does not describe tensors alone, and what to do."""
    names = archive.namelist()
    bare = {PurePosixPath(name).name for name in names}
    if "constants.pkl" in bare or any("/code/__torch__" in f"/{name}" for name in names):
        return (
            "a TorchScript archive",
            "save the state_dict of its module alone: "
            "torch.save(torch.jit.load(FILE).state_dict(), NEW)",
        )
    if any(info.flag_bits & 1 for info in archive.infolist()):
        return "an encrypted zip archive", "decrypt it"
    if "data.pkl" in bare:
        return None
    if (
        "extern_modules" in bare
        or "archive_format" in bare
        or "serialized_exported_program" in bare
    ):
        return (
            "a package or exported program of PyTorch's",
            "save the state_dict of its module alone",
        )
    if names and all(name.endswith(".npy") for name in names):
        return "a file of NumPy arrays", _CONVERT
    if "model.weights.h5" in bare:
        return "a Keras network", _CONVERT
    return f"a zip archive{_weights_among(names)}", _UNPACK


def _weights_among(names: list[str]) -> str:
    suffixes = (".pth", ".pt", ".tar", ".ckpt", ".bin", ".safetensors", ".pkl", ".pickle")
    found = [name for name in names if name.lower().endswith(suffixes)]
    return f" around {found[0][-80:]!r}" if found else " without a checkpoint in it"
