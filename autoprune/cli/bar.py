"""A progress bar on stderr, as a context manager; who draws on it is another class."""

import time
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

WIDE = 100
"""Columns from which on a terminal has room for all."""


class Bar:
    """One line: what is being done, how many of how many, a note, the time taken and left.

    What is not counted has a moving bar without a number. Subclasses translate the events of one kind of
    work.

    Args:
        console: Where to; nothing is drawn before `begin`.
        quiet: Draw nothing at all.
    """

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.wide = console.width >= WIDE
        self.text = ""
        self._task: TaskID | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24 if self.wide else 12),
            _Count(),
            TextColumn("{task.fields[note]}"),
            _Taken(),
            _Left(),
            console=console,
            disable=quiet,
        )

    def begin(self, text: str, total: int | None = None, done: int = 0, note: str = "") -> None:
        """Another piece of work; the one before is no longer shown.

        Args:
            text: What is being done.
            total: Number of its steps; None where they are not counted, 0 where nothing is left to do.
            done: How many of them are behind it already.
            note: What stands behind the count.
        """
        self.text = text
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(text, total=total, completed=done, note=note)

    def count(self, done: int, note: str | None = None) -> None:
        """So many steps are behind it now."""
        if self._task is None:
            return
        if note is not None:
            self._bar.update(self._task, note=note)
        self._bar.update(self._task, completed=done)

    def rename(self, text: str) -> None:
        """The same piece of work under another name; it begins if there is none."""
        if self._task is None:
            self.begin(text)
        else:
            self.text = text
            self._bar.update(self._task, description=text)

    @property
    def counting(self) -> bool:
        """Whether steps are left of something that is counted."""
        return any(task.total is not None and task.remaining for task in self._bar.tasks)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None
    ) -> None:
        self._bar.stop()


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:.0f}/{task.total:.0f}" if task.total else "")


class _Taken(ProgressColumn):
    """Since the first piece of work began, whatever is shown now."""

    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()

    def render(self, task: Task) -> Text:
        return Text(_clock(time.monotonic() - self._began))


class _Left(ProgressColumn):
    """Of what is counted, by the speed of its last steps."""

    def render(self, task: Task) -> Text:
        if task.total is None or not task.remaining:
            return Text("")
        left = task.time_remaining
        return Text("left -:--:--" if left is None else f"left {_clock(left)}")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
