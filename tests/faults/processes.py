"""Real processes that tests start, kill and account for."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.faults.warm"])


class Process:
    """A process in a session, and so in a process group, of its own, that runs `job(*given)`.

    It is forked from a server that holds the libraries, so that it starts at once. The first argument of the
    job is a function whose argument arrives here, see `heard`.
    """

    def __init__(self, job: Callable[..., None], *given: Any, session: bool = True) -> None:
        self._ear, mouth = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_lead, args=(mouth, job, given, session))
        self._process.start()
        mouth.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def heard(self, seconds: float = 60) -> Any:
        """The next thing that the process tells; None where it ended without a word."""
        assert self._ear.poll(seconds), "the process said nothing"
        try:
            return self._ear.recv()
        except EOFError:
            return None

    def hear(self, word: object, seconds: float = 60) -> None:
        """Wait until the process tells this; what it tells before is passed over."""
        while (heard := self.heard(seconds)) != word:
            assert heard is not None, "the process ended"

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, not to those that it started."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = 60) -> int:
        """How it ended: its exit code, or minus the signal that killed it."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, "the process did not end"
        return self._process.exitcode

    def family(self) -> dict[int, str]:
        """All living processes of its session, itself among them: name by process number."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                name, _, rest = (folder / "stat").read_text().rpartition(")")
            except (FileNotFoundError, ProcessLookupError):
                continue
            state, _, _, session, *_ = rest.split()
            if int(session) == self.pid and state not in "ZX":
                found[int(folder.name)] = name.partition("(")[2]
        return found

    def end(self) -> None:
        """Kill whatever is left of the session, or without one the process."""
        for pid in self.family():
            os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._ear.close()


@contextmanager
def started(job: Callable[..., None], *given: Any, session: bool = True) -> Iterator[Process]:
    """A process that is gone, with all that it started, when the block ends."""
    process = Process(job, *given, session=session)
    try:
        yield process
    finally:
        process.end()


def _lead(mouth: Connection, job: Callable[..., None], given: tuple[Any, ...], session: bool) -> None:
    if session:
        os.setsid()
    job(mouth.send, *given)


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)


def descendants(pid: int) -> set[int]:
    """All living processes that a process started, directly or not."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(folder.name))
    found: set[int] = set()
    new = [pid]
    while new:
        new = [child for parent in new for child in children.get(parent, ())]
        found.update(new)
    return found
