"""Ctrl-C and SIGTERM as a request to finish well."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")


@contextmanager
def interruptible() -> Iterator[None]:
    """Have SIGTERM, as a cluster's scheduler sends it, raise `KeyboardInterrupt` as Ctrl-C does.

    For what comes before and after the episodes, where `StopRequest` takes over. A handler of the user's own
    stays, as does that of another thread's program: Python allows handlers in the main thread alone.
    """
    mine = threading.current_thread() is threading.main_thread()
    mine = mine and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if mine:
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        if mine and signal.getsignal(signal.SIGTERM) is _interrupt:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Interrupted(BaseException):
    """Leaves the running episode; no `except Exception` on the way may swallow it."""


class StopRequest:
    """Whether the search was asked to stop, by Ctrl-C, SIGTERM or a `KeyboardInterrupt` from a callback.

    As a context manager it takes over both signals (in the main thread; Python allows no handlers elsewhere)
    and gives them back at the end. The first signal breaks off what runs inside `attempt` and lets all else
    finish; a second one raises `KeyboardInterrupt` wherever the program is.
    """

    def __init__(self) -> None:
        self.requested = False
        self._armed = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) not in (None, signal.SIG_IGN):
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        logger.warning("%s: finishing with the best so far; once more aborts", signal.Signals(number).name)
        if self._armed:
            raise _Interrupted

    def attempt(self, step: Callable[[], T]) -> T | None:
        """Run `step` and return its result; None if a stop was or is requested meanwhile."""
        try:
            try:
                self._armed = True
                return None if self.requested else step()
            finally:
                self._armed = False
        except _Interrupted:
            return None
        except KeyboardInterrupt:
            if self.requested:
                raise
            self.requested = True
            return None
