"""A progress bar on stderr: episode, best score, its cost, time left."""

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from autoprune.run.callbacks import Callback, SearchStart

if TYPE_CHECKING:
    from autoprune.agents import Episode
    from autoprune.run.result import SearchResult

STAGES = {
    "trace": "tracing the network",
    "calibrate": "calibrating",
    "rank": "ordering the channels",
    "baselines": "scoring uniform and greedy",
    "search": "searching",
    "refit": "re-fitting the best candidate",
    "verify": "verifying the result",
    "save": "writing the run",
}


class SearchProgress(Callback):
    """Shows a search as it runs; use it as a context manager around the search.

    Args:
        console: Where to; nothing is drawn until the search starts.
        quiet: Draw nothing at all.
    """

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[best]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet,
        )
        self._task: TaskID | None = None
        self._start: SearchStart | None = None

    def __enter__(self) -> "SearchProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None
    ) -> None:
        self._bar.stop()

    def on_stage(self, stage: str) -> None:
        """Name the stage in front of the bar."""
        text = STAGES.get(stage, stage)
        if self._task is None:
            self._task = self._bar.add_task(text, total=None, best="")
        else:
            self._bar.update(self._task, description=text)

    def on_start(self, start: SearchStart) -> None:
        """Begin to count episodes."""
        self._start = start
        if self._task is None:
            self.on_stage("search")
        assert self._task is not None
        best = "" if start.best is None else self._describe(start.best)
        self._bar.update(self._task, total=start.episodes, completed=start.done, best=best)

    def on_episode(self, episode: "Episode", best: "Episode") -> None:
        """Count one episode."""
        if self._task is not None:
            self._bar.update(self._task, advance=1, best=self._describe(best))

    def on_end(self, result: "SearchResult") -> None:
        """Say that all is done."""
        if self._task is not None:
            self._bar.update(self._task, description="done")

    def _describe(self, best: "Episode") -> str:
        assert self._start is not None
        shares = [
            f"{name} {100 * best.costs[name] / self._start.dense[name]:.1f}%"
            for name in self._start.limits
            if self._start.dense.get(name)
        ]
        return f"best {best.evaluation.score:.4f} at {', '.join(shares)}"
