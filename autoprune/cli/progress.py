"""A progress bar on stderr for a search: stage, episode, best score, its cost, time left."""

from typing import TYPE_CHECKING

from rich.console import Console

from autoprune.cli.bar import Bar
from autoprune.run.callbacks import Callback, SearchStart

if TYPE_CHECKING:
    from autoprune.agents import Episode

STAGES = {
    "trace": "tracing the network",
    "calibrate": "calibrating",
    "rank": "ordering the channels",
    "profile": "timing the layers",
    "baselines": "scoring uniform and greedy",
    "search": "searching",
    "refit": "re-fitting the best",
    "verify": "verifying the result",
    "save": "writing the run",
    "export": "writing the file, running and timing it",
}
"""What the stages of the library are called; other stages are the words of whoever announces them."""


class SearchProgress(Bar, Callback):
    """Shows a search, and what is done with its result; use it as a context manager around both."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        super().__init__(console, quiet)
        self._start: SearchStart | None = None
        self._done, self._note = 0, ""

    def on_stage(self, stage: str) -> None:
        """Name what is being done; "done" shows the search once more."""
        if stage == "done":
            self.begin(stage, self._done, self._done, self._note)
        elif stage == "search" and self._start is not None:
            self.begin(STAGES[stage], self._start.episodes, self._done, self._note)
        elif stage in STAGES or not self.counting:
            self.begin(STAGES.get(stage, stage))
        else:
            self.rename(stage)

    def on_step(self, done: int, total: int) -> None:
        """Count what the present stage is made of; 0 begins."""
        if done == 0:
            self.begin(self.text, total)
        self.count(done)

    def on_start(self, start: SearchStart) -> None:
        """Begin to count episodes."""
        self._start, self._done = start, start.done
        self._note = "" if start.best is None else self._describe(start.best)
        self.on_stage("search")

    def on_episode(self, episode: "Episode", best: "Episode") -> None:
        """Count one episode."""
        self._done, self._note = self._done + 1, self._describe(best)
        self.count(self._done, self._note)

    def _describe(self, best: "Episode") -> str:
        assert self._start is not None
        score = f"best {best.evaluation.score:.4f}"
        shares = [
            f"{name} {100 * best.costs[name] / self._start.dense[name]:.1f}%"
            for name in self._start.limits
            if self._start.dense.get(name)
        ]
        return f"{score} at {', '.join(shares)}" if self.wide and shares else score
