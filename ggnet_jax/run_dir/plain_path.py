"""Paths that Orbax and TensorStore take as they are."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ggnet_jax.errors import UserError

_PLAIN = re.compile(r"[\w ./+,=@:~-]*", re.ASCII)


@contextmanager
def plain_path(place: Path) -> Iterator[Path]:
    """A path to a folder that Orbax and TensorStore take as it is.

    Orbax looks for its files with glob patterns and would take brackets in a path for one; and
    TensorStore knows no name that is not UTF-8. Such a path is replaced by a symbolic link.
    """
    if _PLAIN.fullmatch(str(place)):
        yield place
        return
    parent = next((p for p in (tempfile.gettempdir(), "/tmp") if _PLAIN.fullmatch(p)), None)
    with contextlib.ExitStack() as stack:
        try:
            link = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent))) / "linked"
            link.symlink_to(place, target_is_directory=True)
        except OSError as error:
            raise UserError(
                f"cannot make a symbolic link to {place} in {parent} ({error.strerror}); "
                "use a path of letters, digits, '-' and '_'"
            ) from error
        yield link
