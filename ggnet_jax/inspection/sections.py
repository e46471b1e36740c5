"""What an inspection says, in sections of notes and tables that text and page both write."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ggnet_jax.config import OUTPUT_STRIDE
from ggnet_jax.inspection import statistics
from ggnet_jax.inspection.class_sections import class_sections
from ggnet_jax.inspection.columns import Columns, Inspection, Split
from ggnet_jax.inspection.parts import (
    Description,
    Section,
    Table,
    counted,
    part_of,
    percent,
    ratio,
    split_title,
)
from ggnet_jax.vocabularies import Vocabulary

EXAMPLES = 5
Size = tuple[int, int]


def describe(
    inspection: Inspection,
    *,
    input_size: Size,
    divisor: int,
    max_boxes: int,
    max_relations: int,
) -> Description:
    """Turn a data set into sections.

    Args:
        inspection: what was read.
        input_size: (H, W) of the network's input.
        divisor: of both sides, which the network needs.
        max_boxes: `config.data.max_boxes`.
        max_relations: `config.data.max_relations`.
    """
    remarks: list[str] = []
    splits, vocabulary = inspection.splits, inspection.vocabulary
    if inspection.dataset is None:
        remarks.append(
            "The annotations were inspected without images, as no image folder is given: missing "
            "and identical images are not known, and sizes are those that the annotations give."
        )
    counts = [
        statistics.class_counts(s.columns, vocabulary.num_objects, vocabulary.num_verbs)
        for s in splits
    ]
    sections = [
        _amounts(splits, remarks),
        *class_sections(inspection, counts, remarks),
        _report(splits, remarks),
        _box_sizes(splits, vocabulary, input_size, remarks),
        _map_cells(splits, input_size, remarks),
        _batches(splits[0], max_boxes, max_relations, remarks),
        _shapes(splits, input_size, divisor, remarks),
    ]
    if len(splits) > 1:
        sections.insert(-1, _overlaps(splits, remarks))
    place = (
        f"{counted(vocabulary.num_verbs, 'verb')}, "
        f"{counted(vocabulary.num_objects, 'object')}, "
        f"{counted(vocabulary.num_classes, 'class')}; {inspection.place}"
    )
    return Description(
        inspection.name, place, tuple(remarks), tuple(s for s in sections if s is not None)
    )


def _amounts(splits: Sequence[Split], remarks: list[str]) -> Section:
    rows = []
    for split in splits:
        columns = split.columns
        n, boxes, relations = (
            len(columns.file_names), len(columns.boxes), len(columns.relations)
        )  # fmt: skip
        pairs = int(columns.pair_of_relation.max(initial=-1)) + 1
        empty = n - len(np.unique(columns.relation_image))
        rows.append(
            {
                "images": n,
                "images that could not be used": split.lost,
                "images without a pair": empty,
                "boxes": boxes,
                "human-object pairs": pairs,
                "relations (a verb of a pair)": relations,
                "boxes an image": ratio(boxes, n),
                "pairs an image": ratio(pairs, n),
                "verbs a pair": ratio(relations, pairs),
            }
        )
        if split.lost:
            remarks.append(
                f"{counted(split.lost, 'image')} of {split_title(split)} could not be used."
            )
        if empty and split.role == "training" and 2 * empty > n:
            remarks.append(f"{percent(empty, n)} of the training images have no pair.")
    table = Table(
        ("", *map(split_title, splits)),
        [(name, *(row[name] for row in rows)) for name in rows[0]],
    )
    return Section("Images and annotations", (), (table,))


def _report(splits: Sequence[Split], remarks: list[str]) -> Section:
    lists = []
    for split in splits:
        title = f"{split_title(split)}: {counted(split.entries, 'entry')}"
        items = [*split.notes]
        for found in split.findings:
            items.append(f"{found.count:,}  {found.what}: {found.treatment}")
            items += [f"    e.g. {example}" for example in found.examples]
        lists.append((title, tuple(items or ["nothing to report"])))
        left_out = [f for f in split.findings if f.treatment.startswith("left out")]
        if left_out:
            number = sum(found.count for found in left_out)
            remarks.append(
                f"{counted(number, 'annotation or image', 'annotations or images')} of "
                f"{split_title(split)} left out; see the data report."
            )
    whole = any(not split.name.isidentifier() for split in splits)
    notes = ("The report is of the whole split that a part is taken from.",) if whole else ()
    return Section("Data report", notes, (), tuple(lists))


def _box_sizes(
    splits: Sequence[Split], vocabulary: Vocabulary, input_size: Size, remarks: list[str]
) -> Section:
    height, width = input_size
    sides = [statistics.shorter_sides(split.columns, input_size) for split in splits]
    known = [side[np.isfinite(side)] for side in sides]
    if not any(map(len, known)):
        return Section("Box sizes", ("No image size is known, so no box size in the input.",))
    levels = (0, 1, 5, 25, 50, 75, 95, 100)
    names = ("smallest", "1 %", "5 %", "25 %", "median", "75 %", "95 %", "largest")
    pixels = [
        np.percentile(side, levels) * OUTPUT_STRIDE if len(side) else [float("nan")] * len(levels)
        for side in known
    ]
    header = tuple(map(split_title, splits))
    table = Table(
        ("shorter side, input pixels", *header),
        [(name, *(f"{values[row]:.1f}" for values in pixels)) for row, name in enumerate(names)],
    )
    shares = []
    for factor in (0.5, 1.0, 1.5, 2.0):
        size = f"({round(height * factor)}, {round(width * factor)})"
        under = [
            percent(int((side * factor < 1).sum()), len(side)) if len(side) else "-"
            for side in known
        ]
        shares.append((size + (" as configured" if factor == 1 else ""), *under))
    small = Table(("boxes under one cell at data.image_size", *header), shares)
    notes = [
        f"An image is fitted into {width} x {height} pixels (data.image_size=({height}, {width})), "
        f"of which the output map has a cell for every {OUTPUT_STRIDE} x {OUTPUT_STRIDE}. A box "
        "whose shorter side is under one cell is hard to learn and to find."
    ]
    common = _common_size([split.columns for split in splits])
    if common is not None:
        scale = min(width / common[0], height / common[1])
        notes.append(
            f"In an image of {common[0]} x {common[1]}, the commonest size, one cell is "
            f"{OUTPUT_STRIDE / scale:.1f} pixels of the image wide."
        )
    first, side = splits[0].columns, sides[0]
    under = np.isfinite(side) & (side < 1)
    if under.any():
        objects = Counter(vocabulary.objects[k] for k in first.classes[under].tolist())
        most = [f"{name.replace('_', ' ')} {n:,}" for name, n in objects.most_common(EXAMPLES)]
        notes.append(f"Under one cell in {split_title(splits[0])}: {', '.join(most)}.")
        if under.mean() >= 0.01:
            remarks.append(
                f"{percent(int(under.sum()), len(side))} of the boxes of "
                f"{split_title(splits[0])} are under one cell of the output map; a larger "
                "data.image_size keeps more (see Box sizes)."
            )
    smallest = np.argsort(np.where(np.isfinite(side), side, np.inf), kind="stable")[:EXAMPLES]
    lists = ()
    if len(smallest) and np.isfinite(side[smallest[0]]):
        items = tuple(_box_line(first, vocabulary, row) for row in smallest.tolist())
        lists = ((f"Smallest boxes of {split_title(splits[0])}", items),)
    return Section("Box sizes", tuple(notes), (table, small), lists)


def _box_line(columns: Columns, vocabulary: Vocabulary, row: int) -> str:
    x1, y1, x2, y2 = columns.boxes[row].tolist()
    name = columns.file_names[columns.box_image[row]]
    obj = vocabulary.objects[columns.classes[row]].replace("_", " ")
    return (
        f"{name}: {obj}, {x2 - x1:.4g} x {y2 - y1:.4g} pixels of the image at ({x1:.4g}, {y1:.4g})"
    )


def _map_cells(splits: Sequence[Split], input_size: Size, remarks: list[str]) -> Section | None:
    found = [statistics.collisions(split.columns, input_size) for split in splits]
    if not any(one.boxes for one in found):
        return None
    rows = [
        (
            "pairs whose interaction point shares its cell with another pair's",
            *(part_of(one.pairs_shared, one.pairs) for one in found),
        ),
        (
            "relations whose cell has the same verb of another pair",
            *(part_of(one.relations_shared, one.relations) for one in found),
        ),
        (
            "boxes whose center shares its cell with another box of its class",
            *(part_of(one.boxes_shared, one.boxes) for one in found),
        ),
    ]
    notes = [
        f"The output map has {input_size[1] // OUTPUT_STRIDE} x {input_size[0] // OUTPUT_STRIDE} "
        "cells. Of two pairs with the same verb in one cell, and of two boxes of a class, at most "
        "one can be found."
    ]
    first = splits[0]
    if found[0].example is not None:
        name = first.columns.file_names[found[0].example]
        notes.append(f"The image of {split_title(first)} with most of such pairs: {name}.")
    if found[0].relations_shared * 20 > max(found[0].relations, 1):
        remarks.append(
            f"{percent(found[0].relations_shared, found[0].relations)} of the relations of "
            f"{split_title(first)} share cell and verb with another pair (see Output map)."
        )
    return Section("Output map", tuple(notes), (Table(("", *map(split_title, splits)), rows),))


def _batches(split: Split, max_boxes: int, max_relations: int, remarks: list[str]) -> Section:
    lost = statistics.dropped(split.columns, max_boxes, max_relations)
    table = Table(
        ("", f"data.max_boxes={max_boxes}", f"data.max_relations={max_relations}"),
        [
            ("most in an image", lost.most_boxes, lost.most_relations),
            ("images with more", lost.images_boxes, lost.images_relations),
            ("boxes left out", lost.boxes, 0),
            ("relations left out", lost.relations_of_boxes, lost.relations),
        ],
    )
    notes = [
        f"A batch has room for data.max_boxes boxes and data.max_relations relations an image; of "
        f"more, the largest boxes and the rarest verbs are kept. Counted for {split_title(split)}."
    ]
    relations = lost.relations + lost.relations_of_boxes
    if lost.boxes or relations:
        keep = f"data.max_boxes={max(lost.most_boxes, max_boxes)}, "
        keep += f"data.max_relations={max(lost.most_relations, max_relations)}"
        both = [counted(lost.boxes, "box")] * bool(lost.boxes)
        both += [counted(relations, "relation")] * bool(relations)
        remarks.append(
            f"{' and '.join(both)} of {split_title(split)} do not fit into the batches; {keep} "
            "keeps all."
        )
    return Section("Batches", tuple(notes), (table,))


def _overlaps(splits: Sequence[Split], remarks: list[str]) -> Section:
    lists = []
    for i, first in enumerate(splits):
        if again := statistics.repeated(first.columns):
            lists.append(
                (
                    f"images of {split_title(first)} with the content of an earlier one: "
                    f"{len(again):,}",
                    _pair_lines(again),
                )
            )
        for second in splits[i + 1 :]:
            shared = statistics.overlap(first.columns, second.columns)
            both = f"{split_title(first)} and {split_title(second)}"
            lists.append((f"file names in {both}: {len(shared.names):,}", shared.names[:EXAMPLES]))
            if shared.same is not None:
                lists.append(
                    (f"identical images in {both}: {len(shared.same):,}", _pair_lines(shared.same))
                )
            if shared.names or shared.same:
                number = max(len(shared.names), len(shared.same or ()))
                remarks.append(
                    f"{counted(number, 'image')} of {both} "
                    + ("are in both." if number > 1 else "is in both.")
                    if shared.same
                    else f"{counted(number, 'file name')} in both {both}."
                )
    return Section("Overlap", (), (), tuple(lists))


def _pair_lines(pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(a if a == b else f"{a} = {b}" for a, b in pairs[:EXAMPLES])


def _shapes(splits: Sequence[Split], input_size: Size, divisor: int, remarks: list[str]) -> Section:
    sizes = [split.columns.sizes for split in splits]
    every = np.concatenate(sizes)
    known = every[(every > 0).all(axis=1)]
    if not len(known):
        return Section("Image shapes", ("No image size is known.",))
    common, number = np.unique(known, axis=0, return_counts=True)
    order = np.argsort(-number, kind="stable")[:8]
    count = [Counter(map(tuple, size.tolist())) for size in sizes]
    rows = [(f"{w} x {h}", *(one[w, h] for one in count)) for w, h in common[order].tolist()]
    if len(common) > len(rows):
        listed = {tuple(size) for size in common[order].tolist()}
        rest = [sum(n for s, n in one.items() if s not in listed and min(s) > 0) for one in count]
        rows.append((f"{len(common) - len(rows):,} other sizes", *rest))
    if (every <= 0).any():
        rows.append(("not known", *(int((size <= 0).any(axis=1).sum()) for size in sizes)))
    wide = known[:, 0] / known[:, 1]
    border = statistics.border_share(known, input_size)
    height, width = input_size
    notes = [
        f"Sides of {known.min()} to {known.max()} pixels; width to height {wide.min():.2f} to "
        f"{wide.max():.2f}, median {np.median(wide):.2f}.",
        f"Fitted into {width} x {height}, {border:.0%} of the network's input is border.",
    ]
    better, share = statistics.better_shape(known, input_size, divisor)
    if border - share >= 0.1:
        notes.append(
            f"data.image_size=({better[0]}, {better[1]}) has about the same area and leaves "
            f"{share:.0%}."
        )
        remarks.append(
            f"{border:.0%} of the network's input is border; data.image_size="
            f"({better[0]}, {better[1]}), about as large, leaves {share:.0%}."
        )
    table = Table(("width x height", *map(split_title, splits)), rows)
    return Section("Image shapes", tuple(notes), (table,))


def _common_size(every: Sequence[Columns]) -> tuple[int, int] | None:
    sizes = np.concatenate([columns.sizes for columns in every])
    sizes = sizes[(sizes > 0).all(axis=1)]
    if not len(sizes):
        return None
    different, number = np.unique(sizes, axis=0, return_counts=True)
    width, height = different[number.argmax()].tolist()
    return width, height
