"""Costs that a device feels, for one search: which are counted, and whether the measured latency holds."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveFloat
from torch import nn

from autoprune.budget import Budget, Cost
from autoprune.budget.memory import MemoryCost
from autoprune.budget.size import SizeCost
from autoprune.errors import ArgumentError, RunError
from autoprune.files import StrPath, sha256
from autoprune.graph import PruneGraph, Traced, trace_program
from autoprune.graph.tracer import Settings as Tracing
from autoprune.latency import (
    LatencyCost,
    LatencyTable,
    Timed,
    anchored,
    best_step,
    candidate,
    complete,
    segments_of,
)
from autoprune.latency.network import time_networks
from autoprune.latency.profile import measure, requests_of, target_of
from autoprune.run.spare import first_good, keep_spare
from autoprune.run.stored import read_stored, validated, write_stored

if TYPE_CHECKING:
    from autoprune.agents import Episode
    from autoprune.run.directory import RunDirectory
    from autoprune.run.problem import Problem
    from autoprune.run.recorder import Recorder

logger = logging.getLogger(__name__)

ROUNDS = 4
"""How often a table may be corrected before the search gives up."""

TURNS, PASSES = 3, 20
"""How often a candidate is timed, prepared anew every time as its memory then lies elsewhere, and how many
passes that are."""

MARGIN = 1.01
"""Room below the limit: what a measurement must leave, and a corrected table adds, as the next one varies. It
is more where the measurements showed that they vary more."""

CAREFUL = 0.93
"""A candidate that the table sees at the limit and that takes less than this share of it is too small."""

TABLE_NAME, BIAS_NAME = "latency_table.json", "latency.json"


class Bias(BaseModel):
    """What whole networks taught about a table, as a run directory keeps it.

    Attributes:
        anchors: Sums of layers and measured milliseconds of whole networks.
        correction: What the candidates' times are multiplied by since a measurement showed it to be off.
        rounds: How often that happened.
        step: In whose multiples of channels whole networks are fast, where that was measured.
        table: SHA-256 of the file of the table.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    anchors: tuple[tuple[float, PositiveFloat], ...]
    correction: PositiveFloat = 1.0
    rounds: int = 0
    step: int = 1
    table: str | None = None


@dataclass(frozen=True)
class LatencyChoice:
    """Which latency table a search uses.

    Attributes:
        table: The table or its file; None measures one where the budget limits the latency.
        allow_foreign: Accept a table of another machine, thread count or library version.
    """

    table: "LatencyTable | StrPath | None" = None
    allow_foreign: bool = False


class Device:
    """The device costs of one search.

    Args:
        choice: The latency table.
        budget: Says which costs are needed.
        directory: Where the table and its bias are kept, so that a resumed search has the same; or None.
        stage: Told when layers are measured.
        round_to: Of which all widths are multiples; "auto" has it measured.
    """

    def __init__(
        self,
        choice: LatencyChoice,
        budget: Budget,
        directory: "RunDirectory | None",
        stage: Callable[[str], None],
        round_to: int | str = 1,
    ) -> None:
        self._choice, self._names, self._directory, self._stage = choice, budget.names, directory, stage
        self._round_to = round_to
        self._latency: _Latency | None = None

    def costs(self, graph: PruneGraph) -> dict[str, Cost]:
        """The costs that the budget names beside MACs and parameters; latency also where a table is given.

        Raises:
            ArgumentError: A table of another target, or one that lacks a layer and cannot be completed.
            ModelError: The network cannot be cut into layers.
        """
        found: dict[str, Cost] = {}
        timed = "latency" in self._names or self._choice.table is not None
        traced = _traced(graph) if timed or "memory" in self._names else None
        if "size" in self._names:
            found["size"] = SizeCost(graph)
        if traced is not None and "memory" in self._names:
            found["memory"] = MemoryCost(traced, graph)
        if traced is not None and timed:
            self._stage("profile")
            self._latency = _Latency(self._choice, graph, traced, self._directory, self._round_to)
            found["latency"] = self._latency.cost
        return found

    def resume(self) -> None:
        """Take up the correction of an earlier part of the run.

        To be called once the budget is bound: its limits stay those of the start of the run.
        """
        if self._latency is not None:
            self._latency.resume()

    def save(self) -> None:
        """Keep table and bias in the run directory.

        Raises:
            RunError: They cannot be written.
        """
        if self._latency is not None:
            self._latency.save()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of the result must know of the latency."""
        return () if self._latency is None else tuple(self._latency.remarks)

    def settle(
        self,
        problem: "Problem",
        recorder: "Recorder",
        best: "Episode",
        episodes: int,
        go_on: Callable[[int], None],
    ) -> "tuple[Episode, Timed | None]":
        """Time the best candidate; while the table was off, correct it and search on.

        It was where a candidate is not safely within the budget, and where it was kept far below it.

        Args:
            problem: The problem.
            recorder: The history.
            best: The best episode so far.
            episodes: Of the whole search; every further round has a quarter of it.
            go_on: Runs so many further episodes.

        Returns:
            The best of the timed episodes that keeps the budget, safely if possible, and its times, which say
            whether the budget holds; no times without a latency, or where the table is of another target.
        """
        if self._latency is None or self._latency.foreign:
            return best, None
        best = _best(problem, recorder) or best
        timed = self._latency.time(problem, best)
        tried = [(best, timed)]
        while self._latency.rounds < ROUNDS and self._latency.is_off(problem, timed):
            self._latency.correct(problem, timed)
            before = len(recorder.history)
            go_on(ceil(episodes / 4))
            following = _best(problem, recorder)
            if following is None or len(recorder.history) == before:  # out of reach, or stopped
                break
            best = following
            timed = self._latency.time(problem, best)
            tried.append((best, timed))
        held = [(_safe(one), episode.reward, at) for at, (episode, one) in enumerate(tried) if one.holds]
        best, timed = tried[max(held)[2] if held else -1]
        if timed.factor != self._latency.cost.factor:
            self._latency.scale(timed.factor)
        if not held:
            logger.warning("the measured latency breaks the budget: %s", timed)
        return best, timed


class _Latency:
    """The latency of one search: its table, what whole networks taught about it, and the measurements."""

    def __init__(
        self,
        choice: LatencyChoice,
        graph: PruneGraph,
        traced: Traced,
        directory: "RunDirectory | None",
        round_to: int | str,
    ) -> None:
        self._graph, self._directory = graph, directory
        self.rounds, self.remarks = 0, list[str]()
        self._stored = self._read_bias()
        segments = segments_of(traced, graph)
        self._table = self._find(choice, segments)
        allowed = choice.allow_foreign or self._stored is not None
        self.foreign = self._table.check_target(allow_foreign=allowed)
        if self.foreign:
            self.remarks.append(
                f"the latency table is of another target ({'; '.join(self.foreign)}): nothing was timed here"
            )
        if missing := self._table.missing(segments):
            self.remarks.append(f"{len(missing)} layers were not in the latency table and were measured now")
            self._table = complete(self._table, segments)
        self.cost = LatencyCost(segments, self._table)
        if self._stored is not None:
            self.cost.anchors, self.cost.step = self._stored.anchors, self._stored.step
        elif not self.foreign:
            self._measure(round_to)
        if round_to == 1 and self.cost.step > 1:
            self.remarks.append(
                f"whole networks are much faster here where widths are multiples of {self.cost.step}: "
                "round_to='auto' searches among these"
            )

    def _measure(self, round_to: int | str) -> None:
        """What whole networks of widths as the candidates' will be say about the table."""
        what = _model(self._graph), self._graph, self._graph.inputs, self._table.target
        if round_to in ("auto", 1):
            self.cost.step = best_step(*what)
        anchored(self.cost, *what, round_to=round_to if isinstance(round_to, int) else self.cost.step)

    def _find(self, choice: LatencyChoice, segments: Any) -> LatencyTable:
        kept = None if self._directory is None else self._directory.path / TABLE_NAME
        if kept is not None and kept.exists():
            return first_good(kept, self._checked)
        if isinstance(choice.table, LatencyTable):
            return choice.table
        if choice.table is not None:
            return LatencyTable.load(choice.table)
        target = target_of(self._graph.inputs, _model(self._graph), "eager")
        return measure(requests_of(segments, target))

    def _checked(self, path: Path) -> LatencyTable:
        if self._stored is not None and self._stored.table not in (None, sha256(path)):
            raise RunError(f"'{path}' is damaged or was edited: its checksum does not match")
        try:
            return LatencyTable.load(path)
        except ArgumentError as error:
            raise RunError(str(error)) from error

    def resume(self) -> None:
        if self._stored is not None:
            self.rounds = self._stored.rounds
            self.scale(self._stored.correction)  # which also renews what was damaged

    def time(self, problem: "Problem", best: "Episode") -> Timed:
        """Time a candidate beside the dense network."""
        found = candidate(_model(self._graph), self._graph, best.widths)
        predicted = float(self.cost(problem.task.vector(best.widths)))
        networks = [_model(self._graph), found]
        turns = []
        for _ in range(TURNS):
            dense_ms, found_ms = time_networks(
                networks, self._graph.inputs, self._table.target, rounds=PASSES
            )
            turns.append((found_ms / (_limit(problem, dense_ms) or dense_ms), dense_ms, found_ms))
        turns.sort()
        share, dense_ms, found_ms = turns[TURNS // 2]
        return Timed(
            dense_ms=dense_ms,
            found_ms=found_ms,
            predicted_ms=predicted,
            limit_ms=_limit(problem, dense_ms),
            spread=turns[-1][0] / share,
            factor=self.cost.factor,
            rounds=self.rounds,
        )

    def is_off(self, problem: "Problem", timed: Timed) -> bool:
        """Whether a measurement asks for a correction."""
        if timed.limit_ms is None:
            return False
        if not _safe(timed):
            return True
        near = timed.predicted_ms > CAREFUL * problem.task.budget.limits["latency"]
        return near and self._bias(problem, timed) < CAREFUL

    def correct(self, problem: "Problem", timed: Timed) -> None:
        """Multiply all predicted times so that this measurement would have been foreseen."""
        bias = self._bias(problem, timed)
        self.rounds += 1
        self.scale(self.cost.factor * (bias if _safe(timed) else max(1.0, bias)) * _room(timed))
        logger.info("the latency table was off: times are multiplied by %.3f", self.cost.factor)

    def _bias(self, problem: "Problem", timed: Timed) -> float:
        """The measured time over the predicted one, both as shares of their limits."""
        assert timed.limit_ms is not None
        limit = problem.task.budget.limits["latency"]
        return timed.found_ms / timed.limit_ms * limit / timed.predicted_ms

    def scale(self, correction: float) -> None:
        """Multiply all predicted times by this from now on."""
        self.cost.factor = correction
        self.save()

    def _read_bias(self) -> Bias | None:
        path = None if self._directory is None else self._directory.path / BIAS_NAME
        return first_good(path, _bias) if path is not None and path.exists() else None

    def save(self) -> None:
        if self._directory is None:
            return
        table, bias = self._directory.path / TABLE_NAME, self._directory.path / BIAS_NAME
        with self._directory.writing():
            self._table.save(table)
            now = Bias(
                anchors=self.cost.anchors,
                correction=self.cost.factor,
                rounds=self.rounds,
                step=self.cost.step,
                table=sha256(table),
            )
            write_stored(bias, now.model_dump(mode="json"))
            for path in (table, bias):
                keep_spare(path)


def _safe(timed: Timed) -> bool:
    """Whether the budget holds, and will if it is measured again."""
    return timed.limit_ms is None or timed.found_ms * _room(timed) <= timed.limit_ms


def _room(timed: Timed) -> float:
    """By which factor the next measurement may be longer."""
    return max(MARGIN, timed.spread)


def _bias(path: Path) -> Bias:
    return validated(Bias, path, read_stored(path))


def _traced(graph: PruneGraph) -> Traced:
    """What every value of the exported graph is, with the groups of `graph`."""
    if graph.rewriter is not None:
        return graph.rewriter.traced
    return trace_program(_model(graph), graph.inputs, Tracing(inexact=graph.inexact, heads=graph.heads))


def _model(graph: PruneGraph) -> nn.Module:
    assert graph.model is not None
    return graph.model


def _best(problem: "Problem", recorder: "Recorder") -> "Episode | None":
    """The best finished episode that keeps the budget as its costs are known now."""
    task = problem.task
    rows = np.array([task.vector(episode.widths) for episode in recorder.history])
    holds = task.budget.holds(rows).tolist() if len(rows) else []
    kept = [episode for episode, holding in zip(recorder.history, holds, strict=True) if holding]
    return max(kept, key=recorder.worth, default=None)


def _limit(problem: "Problem", dense_ms: float) -> float | None:
    """The limit in milliseconds, a relative one of the dense time that was just measured."""
    for limit in problem.task.budget.asked:
        if limit.name == "latency":
            return limit.absolute(dense_ms)
    return None
