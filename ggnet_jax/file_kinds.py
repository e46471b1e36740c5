"""What a file is that is not what it was taken for, told from its first bytes.

Standard library only.
"""

import re

_BEGINNINGS = (
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"\x04\x22\x4d\x18", "an LZ4 file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"MATLAB ", "a MATLAB file (.mat)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as MATLAB 7.3 writes .mat"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
)
_PICKLE = re.compile(rb"\x80[\x02-\x05]|[(\]}](?:lp|dp|p)\d+\n")  # binary; protocol 0
_PAGE = re.compile(rb"\s*<(?:!doctype|html|head|body)", re.IGNORECASE)


def kind_of(data: bytes) -> str | None:
    """What a file is, such as "a zip archive"; None if that cannot be told.

    Args:
        data: its first bytes, 300 or more if it has them.
    """
    for beginning, kind in _BEGINNINGS:
        if data.startswith(beginning):
            return kind
    if data[257:262] == b"ustar":
        return "a tar archive"
    if _PICKLE.match(data):
        return "a Python pickle"
    if _PAGE.match(data[:300]):
        return "an HTML page"
    return "an XML file" if data.startswith(b"<?xml") else None
