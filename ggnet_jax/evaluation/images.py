"""Which image of the ground truth each predicted one is."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ggnet_jax.errors import UserError


def number_images(
    names: Sequence[str],
    images: Mapping[Any, int],
    key: Callable[[str], Any] = str,
    *,
    ignore_unknown: bool = False,
) -> tuple[list[int | None], tuple[str, ...]]:
    """The numbers of predicted images.

    A name that is unknown is looked for without its folder, if only one image of the ground truth
    and only one predicted image is called so.

    Args:
        names: of the predicted images.
        images: number of each ground-truth image by its key.
        key: file name -> key of `images`.
        ignore_unknown: don't raise for an unknown image.

    Returns:
        Their numbers, None where an image is unknown; a note if names differ by their folder.

    Raises:
        UserError: an image is unknown, or occurs twice.
    """
    keys = [key(name.strip()) for name in names]
    moved: list[int] = []
    if not all(one in images for one in keys):
        known, ours = (Counter(map(_bare, one)) for one in (images, keys))
        bare = {_bare(one): one for one in images if known[_bare(one)] == 1}
        for number, one in enumerate(keys):
            if one not in images and ours[_bare(one)] == 1 and _bare(one) in bare:
                keys[number] = bare[_bare(one)]
                moved.append(number)
    seen = set()
    for entry, (name, one) in enumerate(zip(names, keys, strict=True)):
        if one in seen:
            raise UserError(f"predictions: image {name!r:.80} occurs twice; merge its entries")
        seen.add(one)
        if one not in images and not ignore_unknown:
            raise UserError(
                f"predictions: image {name!r:.80} (entry {entry}) is not in the ground "
                f"truth{_namesake(name, images)}; check the split, or set unknown_images to "
                "'ignore'"
            )
    note = ()
    if moved:
        note = (
            f"predictions: {len(moved):,} images are matched by their names without folders, such "
            f"as {names[moved[0]]!r:.80} with the ground truth's {keys[moved[0]]!r:.80}",
        )
    return [images.get(one) for one in keys], note


def _bare(key: Any) -> Any:
    """A file name without its folder."""
    return re.split(r"[/\\]", key)[-1] if isinstance(key, str) else key


def _namesake(name: str, images: Mapping[Any, int]) -> str:
    """For a message: the image of the same name in another folder, or of another ending."""
    stem = PurePath(name.replace("\\", "/")).stem
    same = (key for key in images if isinstance(key, str) and PurePath(key).stem == stem)
    found = next(same, None)
    return "" if found is None else f", which has {found!r:.80}"
