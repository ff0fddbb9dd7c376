"""What a run directory records of the end of a search, beside the network: all that a report shows."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from autoprune.graph.shares import shares_of
from autoprune.run.checks import shapes

if TYPE_CHECKING:
    from autoprune.graph import PruneGraph
    from autoprune.run.problem import Problem
    from autoprune.run.result import Measured, SearchResult

CURVE_POINTS = 40
"""Widths at which a sensitivity curve is recorded; wider groups are thinned out."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeasuredRecord(_Record):
    """A row of the comparison, see `autoprune.run.result.Measured`."""

    name: str
    widths: dict[str, int]
    costs: dict[str, int | float]
    score: float
    metrics: dict[str, float]


class GroupRecord(_Record):
    """A group, prunable or locked.

    Attributes:
        name: Its name.
        size: Dense width in units.
        reason: Why it is locked; empty if it can be pruned.
        note: What a user should know although it can be pruned.
        macs: Share (0 to 1) of the dense MACs in layers that its units run through.
        params: The same of the parameters.
    """

    name: str
    size: int
    reason: str
    note: str
    macs: float
    params: float


class CurveRecord(_Record):
    """Points of a sensitivity curve: reconstruction error by width, rising widths."""

    widths: tuple[int, ...]
    errors: tuple[float, ...]


class Outcome(_Record):
    """`outcome.json`.

    Attributes:
        version: Of the format.
        finished: When the search ended, ISO 8601 in UTC.
        inputs: Shape of the example inputs, for which costs are counted.
        images: How many images were read, by part: `search` and `calibration`.
        episodes: Length of the history.
        best: Number of the best episode.
        stopped: Whether the search was stopped before its last episode.
        limits: The budget in absolute numbers, by cost.
        rows: The comparison: dense, the baselines, best, found.
        groups: All groups in network order.
        curves: By name of the prunable group.
        times: Measured milliseconds of the networks `dense` and `found`; empty where none were taken.
        remarks: What a reader must know of the result.
    """

    version: Literal[1] = 1
    finished: str
    inputs: str
    images: dict[str, int]
    episodes: int
    best: int
    stopped: bool
    limits: dict[str, int | float]
    rows: tuple[MeasuredRecord, ...]
    groups: tuple[GroupRecord, ...]
    curves: dict[str, CurveRecord]
    times: dict[str, float] = {}
    remarks: tuple[str, ...] = ()

    def row(self, name: str) -> MeasuredRecord:
        """The row of that name; every outcome has `dense`, `best` and `found`."""
        return next(row for row in self.rows if row.name == name)

    @property
    def baselines(self) -> tuple[MeasuredRecord, ...]:
        """The rows of allocations that need no search."""
        return tuple(row for row in self.rows if row.name not in ("dense", "best", "found"))


def outcome_of(problem: "Problem", result: "SearchResult") -> Outcome:
    """The record of a search that has ended."""
    timed = result.timed
    return Outcome(
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        inputs=shapes(problem.subject.example_inputs),
        images={"search": problem.score.images.count, "calibration": problem.calibration.images},
        episodes=len(result.history),
        best=result.best.number,
        stopped=result.stopped,
        limits=dict(result.limits),
        rows=tuple(map(_row, result.rows())),
        groups=_groups(problem.graph),
        curves={name: _thinned(curve) for name, curve in problem.task.curves.items()},
        times={} if timed is None else {"dense": timed.dense_ms, "found": timed.found_ms},
        remarks=(*(() if timed is None else (str(timed),)), *result.remarks),
    )


def _row(measured: "Measured") -> MeasuredRecord:
    return MeasuredRecord(
        name=measured.name,
        widths=dict(measured.widths),
        costs=dict(measured.costs),
        score=measured.evaluation.score,
        metrics=measured.evaluation.metrics,
    )


def _groups(graph: "PruneGraph") -> tuple[GroupRecord, ...]:
    found = []
    for group in graph.groups:
        macs, params = shares_of(graph, group)
        found.append(
            GroupRecord(
                name=group.name,
                size=group.size,
                reason=group.reason,
                note=group.note,
                macs=macs,
                params=params,
            )
        )
    return tuple(found)


def _thinned(curve: NDArray[np.floating]) -> CurveRecord:
    """Every width from 1 on, or equally spaced ones of a long curve, the ends among them."""
    last = len(curve) - 1
    widths = np.unique(np.linspace(1, last, min(CURVE_POINTS, last)).round().astype(np.int64))
    return CurveRecord(
        widths=tuple(widths.tolist()), errors=tuple(np.asarray(curve, np.float64)[widths].tolist())
    )
