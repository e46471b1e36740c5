"""Requests to stop: SIGTERM, Ctrl-C, preemption of a pod."""

import signal
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """A context in which SIGTERM and Ctrl-C are recorded; training stops after the current step.

    A second signal acts at once. In a run of several processes JAX's own service takes the
    signal and makes all of them stop after the same step.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._previous: dict[int, Any] = {}
        self._together = jax.process_count() > 1

    def __enter__(self) -> "StopRequest":
        if not self._together:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def at(self, step: int) -> bool:
        """Whether to stop after `step` updates; every process asks after every step."""
        if self._together:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._signal is not None

    @property
    def name(self) -> str:
        """What asked, for the message."""
        return "a signal" if self._signal is None else signal.Signals(self._signal).name

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
