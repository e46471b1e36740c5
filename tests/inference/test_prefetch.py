"""Prefetching: in order, no further than its depth, errors where they belong."""

import threading

import pytest

from ggnet_jax.inference.prefetch import in_background, newest, one_ahead, prefetch


def test_results_come_in_order_whatever_their_time():
    first_may_end = threading.Event()

    def slow_start(number):
        if number == 0:
            first_may_end.wait(10)
        if number == 2:
            first_may_end.set()
        return number * number

    futures = prefetch(slow_start, range(6), depth=3, threads=3)
    assert [future.result() for future in futures] == [0, 1, 4, 9, 16, 25]


def test_takes_no_more_items_than_its_depth():
    taken = []

    def items():
        for number in range(10):
            taken.append(number)
            yield number

    futures = prefetch(lambda number: number, items(), depth=2)
    assert next(futures).result() == 0
    assert taken == [0, 1, 2]
    assert next(futures).result() == 1
    assert taken == [0, 1, 2, 3]


def test_an_error_is_raised_at_its_item_and_the_next_go_on():
    results = []
    for future in prefetch(lambda number: 12 // number, [3, 0, 4], depth=1):
        try:
            results.append(future.result())
        except ZeroDivisionError:
            results.append("error")
    assert results == [4, "error", 3]


def test_what_nobody_asks_for_is_cancelled():
    done, first_began, may_end = [], threading.Event(), threading.Event()

    def work(number):
        first_began.set()
        assert may_end.wait(10)
        done.append(number)

    futures = prefetch(work, range(3), depth=2)
    _, second, last = (next(futures) for _ in range(3))
    assert first_began.wait(10)
    last.add_done_callback(lambda _: may_end.set())  # the first ends when the last is called off
    futures.close()
    assert done == [0]
    assert second.cancelled() and last.cancelled()


@pytest.mark.parametrize("items", [[], range(1)])
def test_few_items(items):
    assert [future.result() for future in prefetch(str, items, depth=4)] == [str(i) for i in items]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_one_ahead_takes_the_next_item_before_it_yields_one(count):
    taken = []

    def items():
        for number in range(count):
            taken.append(number)
            yield number

    for number in one_ahead(items()):
        assert taken == list(range(min(number + 2, count)))
    assert taken == list(range(count))


def test_in_background_takes_up_to_its_depth_ahead_and_no_more():
    taken, third = [], threading.Event()

    def items():
        for number in range(10):
            taken.append((number, threading.current_thread() is threading.main_thread()))
            if number == 2:
                third.set()
            yield number

    items_in_background = in_background(items(), depth=2)
    assert next(items_in_background) == 0
    assert third.wait(10)  # two more, while nobody asks
    assert list(items_in_background) == list(range(1, 10))
    assert taken == [(number, False) for number in range(10)]


def test_in_background_raises_where_its_items_do():
    def items():
        yield 1
        yield 2
        raise ZeroDivisionError("third")

    got = []
    with pytest.raises(ZeroDivisionError, match="third"):
        for item in in_background(items(), depth=8):
            got.append(item)
    assert got == [1, 2]


def test_in_background_closes_its_items_when_the_caller_stops():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    endless = in_background(items(), depth=3)
    assert next(endless) == 1
    endless.close()
    assert closed.wait(10)


def test_newest_skips_what_came_meanwhile():
    more, taken = threading.Event(), threading.Event()

    def items():
        yield 0
        assert more.wait(10)
        yield from (1, 2, 3)
        taken.set()

    shown = newest(items())
    assert next(shown) == 0
    more.set()
    assert taken.wait(10)
    assert list(shown) == [3]


def test_newest_raises_after_the_last_item():
    def items():
        yield 1
        raise ZeroDivisionError

    shown, got = newest(items()), []
    with pytest.raises(ZeroDivisionError):
        for item in shown:
            got.append(item)
    assert got == [1]
    assert list(newest(())) == []
