"""Pruning while the network trains."""

from collections.abc import Sequence
from typing import Any, Unpack

from torch import nn

from autoprune.criteria import Criterion
from autoprune.data import Splits
from autoprune.errors import ArgumentError
from autoprune.masks import Granularity
from autoprune.pipelines.loop import Round, check_counts, run_rounds
from autoprune.pipelines.options import Options
from autoprune.pipelines.result import PipelineResult
from autoprune.pipelines.sparsify import Scope, Sparsifier
from autoprune.pipelines.work import Work, working
from autoprune.schedules import Schedule
from autoprune.schedules import schedule as named
from autoprune.train import Session


def gradual(
    model: nn.Module,
    data: Splits,
    sparsity: float,
    *,
    epochs: int = 10,
    schedule: str = "gradual",
    begin: float = 0.0,
    end: float = 0.75,
    every: int = 10,
    criterion: str | Criterion = "l1",
    granularity: str | Granularity = "weight",
    scope: Scope = "layer",
    floor: float = 0.01,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    **options: Unpack[Options],
) -> PipelineResult:
    """Prune during one training, along a schedule over its steps (Zhu and Gupta 2017, arXiv:1710.01878).

    Args:
        model: Trained or new network; untouched.
        data: As for `iterative_magnitude`.
        sparsity: As for `iterative_magnitude`; fixed N:M patterns have no way there (take "n:4").
        epochs: Of the training, at least 1.
        schedule: Target by optimizer step; a name in `autoprune.schedules.SCHEDULES`.
        begin: Share of the training after which pruning begins.
        end: Share of the training after which the target is reached.
        every: Optimizer steps between two prunings.
        criterion: As for `iterative_magnitude`; scored anew at each pruning.
        granularity: As for `iterative_magnitude`.
        scope: As for `iterative_magnitude`.
        floor: As for `iterative_magnitude`.
        include: As for `iterative_magnitude`.
        exclude: As for `iterative_magnitude`.
        options: See `Options`.

    Returns:
        The network and its masks; the one row of the history has the sparsity at the end.

    Raises:
        ArgumentError: An argument outside its rules.
    """
    check_counts(epochs=epochs)
    if epochs < 1:
        raise ArgumentError(f"epochs must be at least 1 to prune during them, got {epochs}")
    if not 0 <= begin < end <= 1:
        raise ArgumentError(f"begin and end must be shares with 0 <= begin < end <= 1, got {begin} and {end}")
    sparsify = Sparsifier(criterion, granularity, scope, floor, include, exclude)
    if sparsify.fixed is not None:
        raise ArgumentError(f"granularity must let the sparsity rise step by step, got '{granularity}'")
    named(schedule, sparsity, 1, every=every)
    settings = {
        **sparsify.settings, "sparsity": sparsity, "epochs": epochs, "schedule": schedule, "begin": begin,
        "end": end, "every": every,
    }  # fmt: skip
    with working("gradual", model, data, settings, options) as work:
        work.rounds = 1
        rise = _Rise(work, sparsify, schedule, sparsity, begin, end, every)

        def next_round(done: int) -> Round | None:
            return Round(lambda: {"sparsity": 0.0}, epochs, on_step=rise) if done == 0 else None

        run_rounds(work, next_round)
        return work.finish()


class _Rise:
    """After each optimizer step: prune, if the schedule asks for more."""

    def __init__(
        self,
        work: Work,
        sparsify: Sparsifier,
        schedule: str,
        sparsity: float,
        begin: float,
        end: float,
        every: int,
    ) -> None:
        self._work, self._sparsify = work, sparsify
        self._settings: dict[str, Any] = {"name": schedule, "final": sparsity, "every": every}
        self._begin, self._end = begin, end
        self._schedule: Schedule | None = None

    def __call__(self, session: Session) -> None:
        if self._schedule is None:
            total = session.epochs * session.steps_per_epoch
            begin = int(self._begin * total)
            steps = max(1, int(self._end * total) - begin)
            self._schedule = named(**self._settings, steps=steps, begin=begin)
        state = self._work.state
        target = self._schedule(session.step)
        if target > state.notes.get("target", 0.0):
            state.masks = self._sparsify(self._work, target)
            state.notes["target"] = target
            session.enforce(state.masks)
