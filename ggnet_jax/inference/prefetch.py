"""Work on the next items while the present one is dealt with."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, depth: int, threads: int = 1
) -> Iterator[Future[Result]]:
    """Call a function in threads for the items to come.

    Args:
        function: called as `function(item)`.
        items: taken one by one, in the caller's thread.
        depth: so many items beyond the present one are begun.
        threads: that share the calls.

    Yields:
        For each item, in order, the future of its call; `result()` gives what it returned or
        raises what it raised. Calls that are not asked for any more are not begun.
    """
    begun: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            begun.append(pool.submit(function, item))
            if len(begun) > depth:
                yield begun.popleft()
        while begun:
            yield begun.popleft()
    finally:
        pool.shutdown(cancel_futures=True)
