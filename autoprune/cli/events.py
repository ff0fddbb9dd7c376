"""Progress as JSON lines, for programs: one object per event on stderr."""

import json
import math
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from autoprune.run.callbacks import Callback, SearchStart

if TYPE_CHECKING:
    from autoprune.agents import Episode
    from autoprune.pipelines import Progress
    from autoprune.run.result import SearchResult
    from autoprune.sensitivity import Point


class Events(Callback):
    """Writes what the bars draw; use it as a context manager, as they are.

    Every line holds `event` and `seconds` since the command began to work. The events are `stage` (with its
    name), `step` of the stage (`done`, `total`, `eta`), `start`, `episode` (score, costs, the best so far,
    `eta` in seconds), `found`, `point` of a sensitivity analysis, `layer` of a profile, `pipeline`, and
    `done` at the end of what went well.

    Args:
        stream: Where to; None takes stderr.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._began = time.monotonic()
        self._start: SearchStart | None = None
        self._first = self._stepping = 0.0
        self._new = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None
    ) -> None:
        if kind is None:
            self._write("done")

    def on_stage(self, stage: str) -> None:
        """A stage begins."""
        if stage != "done":
            self._write("stage", stage=stage)

    def on_step(self, done: int, total: int) -> None:
        """So many steps of the present stage are done; 0 begins."""
        if done == 0:
            self._stepping = time.monotonic()
        else:
            eta = (time.monotonic() - self._stepping) / done * (total - done)
            self._write("step", done=done, total=total, eta=round(eta, 3))

    def on_start(self, start: SearchStart) -> None:
        """The first episode is about to run."""
        self._start, self._first, self._new = start, time.monotonic(), 0
        best = None if start.best is None else _episode(start.best)
        known = {name: getattr(start, name) for name in ("episodes", "done", "groups", "dense", "limits")}
        self._write("start", **known, best=best)

    def on_episode(self, episode: "Episode", best: "Episode") -> None:
        """One episode is finished."""
        assert self._start is not None
        self._new += 1
        left = max(0, self._start.episodes - self._start.done - self._new)
        eta = (time.monotonic() - self._first) / self._new * left
        total = self._start.episodes
        self._write("episode", **_episode(episode), episodes=total, best=_episode(best), eta=round(eta, 3))

    def on_end(self, result: "SearchResult") -> None:
        """The search is over."""
        found = result.found
        self._write("found", score=found.evaluation.score, costs=found.costs, stopped=result.stopped)

    def on_point(self, point: "Point", done: int, total: int) -> None:
        """One point of a sensitivity analysis is measured."""
        measured = {"kl": point.kl, "accuracy": point.accuracy}
        self._write("point", group=point.group, ratio=point.ratio, **measured, done=done, total=total)

    def on_layer(self, title: str, done: int, total: int) -> None:
        """A layer of a profile is about to be measured; with as many done as there are, the last is."""
        self._write("layer", layer=title, done=done, total=total)

    def __call__(self, event: "Progress") -> None:
        """One event of a pipeline."""
        counted = {name: getattr(event, name) for name in ("stage", "round", "rounds", "epoch", "epochs")}
        self._write("pipeline", **counted, row=event.row)

    def _write(self, event: str, **values: Any) -> None:
        line = {"event": event, "seconds": round(time.monotonic() - self._began, 3), **values}
        self._stream.write(json.dumps(plain(line)) + "\n")
        self._stream.flush()


def _episode(episode: "Episode") -> dict[str, Any]:
    score = episode.evaluation.score
    return {"number": episode.number, "score": score, "reward": episode.reward, "costs": episode.costs}


def plain(value: Any) -> Any:
    """As JSON values: what is not a finite number is null, paths are texts."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return plain(value.item()) if hasattr(value, "item") else str(value)
