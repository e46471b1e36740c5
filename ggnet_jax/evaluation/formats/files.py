"""What a file is, told by its content."""

import re
import reprlib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.formats import hico_mat
from ggnet_jax.file_kinds import kind_of

PREDICTIONS = (
    "PPDM's JSON, V-COCO's pickles (cache.pkl, vcoco.pickle), pickles of scores, boxes and keys by "
    "class (preds.pkl) and folders of HICO-DET's detections_01.mat .. detections_80.mat"
)
"""The files of predictions that are read, for messages."""

_HEAD = 1 << 16  # bytes that tell the kind
_PICKLE = re.compile(rb"\x80[\x00-\x05]|[(\]})]|c[\w.]+\n\w+\n")  # no JSON begins like this
_GZIP = b"\x1f\x8b"


def head_of(path: str | Path) -> bytes:
    """The first bytes of a file, unpacked if they are gzip's; b"" of what cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError):
        return b""
    if not head.startswith(_GZIP):
        return head
    try:
        return zlib.decompressobj(31).decompress(head, _HEAD)
    except zlib.error:
        return head


def is_pickle(head: bytes) -> bool:
    """Whether a file that begins so is a pickle of any protocol."""
    return _PICKLE.match(head) is not None


def is_object(head: bytes) -> bool:
    """Whether a file that begins so is a JSON object."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def keys_in(head: bytes) -> set[str]:
    """The words in double quotes at the beginning of a JSON file."""
    return {word.decode() for word in re.findall(rb'"([A-Za-z_]\w{0,30})"\s*:', head)}


def refuse(path: str | Path, head: bytes) -> None:
    """Raise a UserError for a file that is something else than text or a pickle.

    What cannot be read at all, and what might be text, is left to those who read it.
    """
    what = kind_of(head)
    if what and "zip archive" in what:
        what = _of_zip(path)
    elif what and what.startswith("a MATLAB"):
        what += ", and HICO-DET's detections are a folder of 80: give the folder"
    if what and not is_pickle(head) and "gzip" not in what:
        raise UserError(f"{path} is {what}; what is read: {PREDICTIONS}")


def _of_zip(path: str | Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return "a damaged zip archive"
    if names and all(name.endswith(".npy") for name in names):
        return "a file of NumPy arrays (.npz)"
    if any(name.endswith("/data.pkl") for name in names):
        return "a file of PyTorch's torch.save"
    return f"a zip archive of {len(names)} files ({', '.join(names[:2]):.80}): unpack it"


def describe(value: Any, depth: int = 2) -> str:
    """What an object is, in a few words: "a list of 3 dictionaries with 'a', 'b'"."""
    if isinstance(value, Mapping):
        keys = ", ".join(map(reprlib.repr, list(value)[:5])) or "nothing"
        return f"a dictionary with {keys:.120}"
    if isinstance(value, list | tuple):
        first = f", the first of them {describe(value[0], depth - 1)}" if value and depth else ""
        return f"a list of {len(value):,}{first:.160}"
    return f"of the type {type(value).__name__}"


def of_folder(path: str | Path) -> None:
    """Raise a UserError unless a folder holds HICO-DET's detections."""
    try:
        if hico_mat.find(path):
            return
        inside = sorted(entry.name for entry in Path(path).iterdir())[:3]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    there = ", ".join(inside) or "nothing"
    raise UserError(
        f"{path} is a folder without detections_01.mat .. detections_80.mat (it has {there:.120}); "
        f"what is read: {PREDICTIONS}"
    )
