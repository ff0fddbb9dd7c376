"""A progress bar on stderr, as a context manager; who draws on it is another class."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Bar:
    """Draws while it is entered; what a subclass draws are the events of one kind of work.

    Args:
        console: Where to; nothing is drawn before a task is added.
        quiet: Draw nothing at all.
    """

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            *self._columns(),
            console=console,
            disable=quiet,
        )

    def _columns(self) -> tuple[ProgressColumn, ...]:
        """What stands behind the bar."""
        return (TimeElapsedColumn(),)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None
    ) -> None:
        self._bar.stop()


class CountedBar(Bar):
    """A bar of counted steps: how many of how many, the field `note` of the task, time taken and left."""

    def _columns(self) -> tuple[ProgressColumn, ...]:
        left = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        return (MofNCompleteColumn(), TextColumn("{task.fields[note]}"), *left)
