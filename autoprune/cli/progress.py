"""A progress bar on stderr: episode, best score, its cost, time left."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import TaskID

from autoprune.cli.bar import CountedBar
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


class SearchProgress(CountedBar, Callback):
    """Shows a search as it runs; use it as a context manager around the search."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        super().__init__(console, quiet)
        self._task: TaskID | None = None
        self._start: SearchStart | None = None

    def on_stage(self, stage: str) -> None:
        """Name the stage in front of the bar."""
        text = STAGES.get(stage, stage)
        if self._task is None:
            self._task = self._bar.add_task(text, total=None, note="")
        else:
            self._bar.update(self._task, description=text)

    def on_start(self, start: SearchStart) -> None:
        """Begin to count episodes."""
        self._start = start
        if self._task is None:
            self.on_stage("search")
        assert self._task is not None
        best = "" if start.best is None else self._describe(start.best)
        self._bar.update(self._task, total=start.episodes, completed=start.done, note=best)

    def on_episode(self, episode: "Episode", best: "Episode") -> None:
        """Count one episode."""
        if self._task is not None:
            self._bar.update(self._task, advance=1, note=self._describe(best))

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
