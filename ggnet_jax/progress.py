"""Progress bars: tqdm's on a terminal; in a file, a line now and then."""

import sys
from collections.abc import Callable
from io import StringIO
from typing import Any, TextIO

from tqdm import tqdm

LINE_EVERY = 30.0  # seconds


def progress_bar(*args: Any, **options: Any) -> tqdm:
    """`tqdm(...)`, or where nobody sees it move, its state in a line every half a minute."""
    if sys.stderr.isatty():
        return tqdm(*args, dynamic_ncols=True, **options)
    form = "{desc}: {n_fmt}/{total_fmt}, {remaining} left, {rate_fmt}"
    return _Lines(
        *args,
        **options,
        bar_format=form,
        mininterval=LINE_EVERY,
        maxinterval=LINE_EVERY,
        delay=LINE_EVERY,
        leave=False,
    )


def say(text: str) -> None:
    """Print a line on stderr beside a bar."""
    if sys.stderr.isatty():
        tqdm.write(text, file=sys.stderr)
    else:  # where tqdm would print the state of the bar behind every such line
        print(text, file=sys.stderr)


class _Lines(tqdm):
    """A bar that ends its lines instead of going back to their beginning."""

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        def print_line(text: str) -> None:
            if text.strip():
                file.write(text.strip() + "\n")
                file.flush()

        return print_line

    def clear(self, nolock: bool = False) -> None:
        """A line in a file stays."""

    def moveto(self, n: int) -> None:
        """Bars in a file don't lie above one another."""

    def close(self) -> None:
        if not self.disable:
            if self.last_print_t > self.start_t and self.n > self.last_print_n:
                self.display()
            self.fp = StringIO()  # for a last carriage return
        super().close()
