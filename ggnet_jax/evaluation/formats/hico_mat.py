"""HICO-DET detections for the data set's own Matlab code: `detections_01.mat` .. `_80.mat`.

UPT, PViC, ADA-CM, LAIN and others write them. A file is of one object, numbered in COCO's order;
its `all_boxes` has a row for each class of the object, in the order of the 600, and a column for
each test image. A cell holds rows of human box, object box and score; boxes are inclusive and
0-based.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.formats.matlab import read_cells
from ggnet_jax.evaluation.formats.table import Table
from ggnet_jax.io import read_bytes
from ggnet_jax.vocabularies import Vocabulary

NUM_IMAGES = 9658
_ABSENT = frozenset(  # numbers up to 9,767 that no test image has
    int(number)
    for number in """
    504 508 511 543 567 602 622 633 653 665 681 690 701 726 727 787 1078 1106 1142 1188 1219
    1227 1272 1273 1307 1339 1347 1353 1355 1387 1388 1427 1437 1447 1683 1716 1728 1779
    1783 1815 1833 1936 1939 1944 1997 2017 2020 2318 2365 2414 2429 2446 2450 2487 2521
    2556 2562 2839 2869 2888 2903 2914 2922 2932 2978 2997 2999 3008 3016 3115 3116 3141
    3193 3489 3524 3532 3605 3617 3666 3669 3720 3724 4039 4221 4250 4638 4641 4667 4714
    4726 4748 4750 4754 4786 4884 5236 5240 5290 5300 5324 5356 5738 5739 7215 7429 9061
    9062 9063 9064
    """.split()
)
_FILE = re.compile(r"detections_(\d{1,2})\.mat")


def image_name(number: int) -> str:
    """The file name of the test image with a number."""
    return f"HICO_test2015_{number:08d}.jpg"


def image_names() -> list[str]:
    """The file names of the test images, in the order of the data set's own list."""
    return [image_name(number) for number in range(1, 9768) if number not in _ABSENT]


def find(folder: str | Path) -> dict[int, Path]:
    """{object number: its file} in a folder."""
    names = {path: _FILE.fullmatch(path.name) for path in sorted(Path(folder).iterdir())}
    return {int(match[1]): path for path, match in names.items() if match}


def read(folder: str | Path, progress: Callable[[float], None] | None = None) -> Table:
    """The predictions in a folder of such files.

    Args:
        folder: with all 80 of them.
        progress: called with how much has been read, 0 to 1.

    Raises:
        UserError: a file is missing or damaged, or its cells are not what they should be.
    """
    vocabulary = vocabularies.load("hico_det")
    files = find(folder)
    numbers = range(1, vocabulary.num_objects + 1)
    missing = [number for number in numbers if number not in files]
    if missing or len(files) > len(numbers):
        listed = ", ".join(f"{number:02d}" for number in missing[:5] or sorted(files)[-1:])
        what = f"lacks {len(missing)} of them ({listed}" if missing else f"has another ({listed}"
        raise UserError(
            f"{folder}: HICO-DET's detections are detections_01.mat .. detections_80.mat, a file "
            f"for each object; the folder {what}{', ..' if len(missing) > 5 else ''})"
        )
    shapes: dict[int, tuple[int, int]] = {}
    places, rows, source = [], [np.empty((0, 9))], []
    for number in numbers:
        shapes[number], cells, matrices = read_cells(
            files[number], read_bytes(files[number]), "all_boxes"
        )
        counts = [
            _check(matrix, files[number], cell)
            for matrix, cell in zip(matrices, cells, strict=True)
        ]
        places.append(np.repeat(cells, counts, axis=0))
        source.append(np.full(sum(counts), number))
        if counts:
            rows.append(np.concatenate(matrices, dtype=np.float64))
        if progress:
            progress(number / len(numbers))
    classes = _classes_of_each(shapes, vocabulary, folder)
    columns = {shape[1] for shape in shapes.values()}
    if len(columns) > 1 or max(columns) > NUM_IMAGES:
        raise UserError(
            f"{folder}: all_boxes has {' or '.join(map(str, sorted(columns)))} columns; HICO-DET's "
            f"test set has {NUM_IMAGES:,} images, a column each"
        )
    place, found, source = np.concatenate(places), np.concatenate(rows), np.concatenate(source)
    class_index = np.concatenate(
        [np.array(classes[number])[one[:, 0]] for number, one in zip(numbers, places, strict=True)]
    )
    pairs = np.array(vocabulary.classes)[class_index]
    return Table(
        names=image_names()[: max(columns)],
        image=place[:, 1],
        boxes=found[:, :8],
        category=np.array(vocabulary.object_ids)[pairs[:, 1]],
        verb=np.array(vocabulary.verb_ids)[pairs[:, 0]],
        score=found[:, 8],
        where=lambda row: f"a row of class {class_index[row] + 1} in {files[source[row]].name}",
    )


def _check(matrix: np.ndarray, path: Path, place: np.ndarray) -> int:
    """How many rows a cell has."""
    if matrix.ndim != 2 or matrix.shape[1] != 9:
        raise UserError(
            f"{path}: the cell ({place[0] + 1}, {place[1] + 1}) of all_boxes is "
            f"{' x '.join(map(str, matrix.shape))}, not n x 9 (human box, object box, score)"
        )
    return len(matrix)


def _classes_of_each(
    shapes: Mapping[int, tuple[int, int]], vocabulary: Vocabulary, folder: str | Path
) -> dict[int, list[int]]:
    """{object number: its classes}, in whichever order of objects the numbers of rows fit.

    COCO's is the Matlab code's; the two other orders in use are tried after it.
    """
    of_object: dict[int, list[int]] = {}
    for index, (_, obj) in enumerate(vocabulary.classes):
        of_object.setdefault(obj, []).append(index)
    orders = (
        range(vocabulary.num_objects),
        list(of_object),
        sorted(of_object, key=vocabulary.objects.__getitem__),
    )
    for order in orders:
        classes = {number: of_object[obj] for number, obj in enumerate(order, start=1)}
        if all(len(classes[number]) == shape[0] for number, shape in shapes.items()):
            return classes
    wrong = [n for n, shape in shapes.items() if len(of_object[n - 1]) != shape[0]]
    raise UserError(
        f"{folder}: all_boxes of detections_{wrong[0]:02d}.mat has {shapes[wrong[0]][0]} rows; "
        f"{vocabulary.objects[wrong[0] - 1]}, COCO's object {wrong[0]}, has "
        f"{len(of_object[wrong[0] - 1])} classes"
    )
