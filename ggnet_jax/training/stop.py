"""Requests to stop: SIGTERM, Ctrl-C, a closed terminal, preemption of a pod."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils


class StopNow(KeyboardInterrupt):
    """Raised by a signal where nothing has to be saved first."""


class StopRequest:
    """A context in which SIGTERM, SIGHUP and Ctrl-C are recorded; training stops after the step.

    A second signal ends the process at once. In a run of several processes JAX's own service takes
    SIGTERM and makes all of them stop after the same step; the other signals become that one. A
    SIGHUP that is ignored, as under nohup, stays so.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._previous: dict[int, Any] = {}
        self._together = jax.process_count() > 1
        self._raises = False
        self._pipe: int | None = None
        self._previous_wakeup = -1

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is not threading.main_thread():
            return self  # which alone gets signals
        numbers = [signal.SIGINT] if self._together else [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        for number in numbers:
            self._previous[number] = signal.signal(number, self._note)
        self._watch()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
        if self._pipe is not None:
            signal.set_wakeup_fd(self._previous_wakeup)
            os.close(self._pipe)  # which ends the thread
            self._pipe = None

    def _watch(self) -> None:
        """Let a second signal end the process also while it waits for C++, as for a compiler.

        Python calls `_note` no earlier than that has returned.
        """
        reading, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        self._previous_wakeup = signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
        handled = set(self._previous)

        def watch() -> None:
            count = 0
            with open(reading, "rb", buffering=0) as pipe:
                while numbers := pipe.read(1):
                    count += numbers[0] in handled
                    if count > 1:
                        os._exit(128 + numbers[0])

        threading.Thread(target=watch, daemon=True).start()

    def at(self, step: int) -> bool:
        """Whether to stop after `step` updates; every process asks after every step."""
        if self._together:
            return multihost_utils.reached_preemption_sync_point(step)
        return self.requested

    @property
    def requested(self) -> bool:
        """Whether this process was asked to stop and need not agree with others."""
        return self._signal is not None and not self._together

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """A context that is left by `StopNow` when a signal comes, or has come before.

        Not with several processes, which would wait for the one that left.
        """
        self._raises = not self._together
        try:
            if self._raises and self._signal is not None:
                raise StopNow
            yield
        finally:
            self._raises = False

    @property
    def name(self) -> str:
        """What asked, for the message."""
        return "a signal" if self._signal is None else signal.Signals(self._signal).name

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signal = number
        for handled in self._previous:
            signal.signal(handled, signal.SIG_DFL)  # the next one ends even what Python waits for
        if self._together:
            os.kill(os.getpid(), signal.SIGTERM)
        if self._raises:
            raise StopNow
