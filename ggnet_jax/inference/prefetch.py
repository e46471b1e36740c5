"""Work on the next items in threads while the caller uses the current one."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], *, depth: int, threads: int = 1
) -> Generator[Future[Result], None, None]:
    """Call a function in threads for the items to come.

    Args:
        function: called as `function(item)`.
        items: taken one by one, in the caller's thread.
        depth: how many items beyond the present one are submitted to the threads.
        threads: that share the calls.

    Yields:
        For each item, in order, the future of its call; `result()` gives what it returned or
        raises what it raised. Pending calls are cancelled if the caller stops early.
    """
    submitted: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            submitted.append(pool.submit(function, item))
            if len(submitted) > depth:
                yield submitted.popleft()
        while submitted:
            yield submitted.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items in order, each one only after the next has been taken from `items`.

    Where taking an item dispatches work to a device, the device has work while the caller waits
    for the result of the item before.
    """
    waiting: list[Item] = []
    for item in items:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting


def in_background(items: Iterable[Item], *, depth: int) -> Generator[Item, None, None]:
    """Yield items in order, taken from `items` by a thread of its own, at most `depth` ahead.

    What `items` raises is raised here, at its place. The thread ends, and closes `items`, when the
    caller stops early; one that waits for an item then is not waited for long.
    """
    taken: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    room, stopped = threading.Semaphore(depth), threading.Event()

    def take() -> None:
        iterator = iter(items)
        try:
            while room.acquire() and not stopped.is_set():
                try:
                    taken.put(("item", next(iterator)))
                except StopIteration:
                    return taken.put(("end", None))
        except BaseException as error:
            taken.put(("error", error))
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = taken.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            room.release()
            yield value
    finally:
        stopped.set()
        room.release()
        thread.join(timeout=2)


def newest(items: Iterable[Item]) -> Generator[Item, None, None]:
    """Yield the item that `items` gave last, and none twice, while a thread goes on taking them.

    For what goes on by itself, such as a camera: whoever is slower than it misses items, but is
    never behind. What `items` raises is raised after the last item.
    """
    latest: list[Item] = []
    changed = threading.Condition()
    state: dict[str, Any] = {"ended": False, "error": None, "stopped": False}

    def take() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                with changed:
                    if state["stopped"]:
                        return
                    latest[:] = [item]
                    changed.notify()
        except BaseException as error:
            state["error"] = error
        finally:
            with changed:
                state["ended"] = True
                changed.notify()
            if isinstance(iterator, Generator):
                iterator.close()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: latest or state["ended"])
                if not latest:
                    break
                item = latest.pop()
            yield item
        if state["error"] is not None:
            raise state["error"]
    finally:
        state["stopped"] = True
        thread.join(timeout=2)
