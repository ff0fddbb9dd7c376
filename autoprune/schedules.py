"""Pruning schedules: pure functions from a step to the target sparsity (share pruned so far).

A step is whatever the caller counts: optimizer steps, epochs, or rounds of an iterative pipeline. Every
schedule rises from `initial` to `final` between `begin` and `end` (`begin + steps`), never falls, and is
exact at both ends: `initial` up to `begin`, `final` from `end` on. A one-shot schedule ends where it begins.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

from autoprune.errors import ArgumentError


@dataclass(frozen=True)
class Schedule(ABC):
    """Target sparsity by step.

    Args:
        final: Sparsity at the end, in 0..1.
        steps: Steps from the first to the last target.
        initial: Sparsity before, in 0..1, not above `final`.
        begin: Step at which the rise begins.
        every: The target changes every so many steps (counted from `begin`) and at the end.

    Raises:
        ArgumentError: An argument outside these rules.
    """

    final: float
    steps: int
    initial: float = 0.0
    begin: int = 0
    every: int = 1

    def __post_init__(self) -> None:
        _check_sparsity("final", self.final)
        _check_sparsity("initial", self.initial)
        if self.initial > self.final:
            raise ArgumentError(f"initial must not exceed final ({self.final}), got {self.initial}")
        for name, least in (("steps", 1), ("begin", 0), ("every", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise ArgumentError(f"{name} must be a whole number of at least {least}, got {value!r}")

    @abstractmethod
    def _share(self, progress: float) -> float:
        """How much of the way from `initial` to `final` is done at `progress` in 0..1; never falls."""

    def __call__(self, step: float) -> float:
        """Target sparsity at `step`, in `initial..final`.

        Raises:
            ArgumentError: The step is NaN.
        """
        if math.isnan(step):
            raise ArgumentError("step must be a number, got nan")
        done = step - self.begin
        if done >= self.end - self.begin:
            return self.final
        if done <= 0:
            return self.initial
        progress = (done // self.every) * self.every / self.steps
        if progress == 0:
            return self.initial
        target = self.initial + (self.final - self.initial) * self._share(progress)
        return min(max(target, self.initial), self.final)

    @property
    def end(self) -> int:
        """The step at which `final` is reached."""
        return self.begin + self.steps

    @property
    def changes(self) -> tuple[tuple[int, float], ...]:
        """(step, target) wherever the target rises, in order: all that an iterative pipeline has to do."""
        result: list[tuple[int, float]] = []
        last = self.initial
        for step in (*range(self.begin, self.end, self.every), self.end):
            target = self(step)
            if target > last:
                result.append((step, target))
            last = target
        return tuple(result)


@dataclass(frozen=True)
class OneShot(Schedule):
    """Everything at once at the step `begin`; `steps` and `every` make no difference."""

    steps: int = 1

    @property
    def end(self) -> int:
        """The step at which `final` is reached, which is `begin`."""
        return self.begin

    def _share(self, progress: float) -> float:
        return 1.0


@dataclass(frozen=True)
class IterativeLinear(Schedule):
    """Equal shares of the dense network go in every round."""

    def _share(self, progress: float) -> float:
        return progress


@dataclass(frozen=True)
class IterativeGeometric(Schedule):
    """An equal share of what is left goes in every round, as in the lottery-ticket procedure.

    The density falls as `(1 - initial) * ((1 - final) / (1 - initial)) ** progress` (Frankle and Carbin 2019,
    arXiv:1803.03635, prune p^(1/n) of what is left in each of n rounds).

    Raises:
        ArgumentError: A final sparsity of 1, which no equal shares reach.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.final == 1:
            raise ArgumentError(
                "final must be below 1 for a geometric schedule, which never gets there, got 1"
            )

    def _share(self, progress: float) -> float:
        if self.final == self.initial:
            return 0.0
        ratio = math.log1p(-self.final) - math.log1p(-self.initial)
        return math.expm1(progress * ratio) / math.expm1(ratio)


@dataclass(frozen=True)
class GradualPruning(Schedule):
    """Automated gradual pruning: fast at first, slower as less is left (cubic).

    Zhu and Gupta 2017, arXiv:1710.01878, equation 1: s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3 with
    s_i = `initial`, s_f = `final`, t_0 = `begin`, n dt = `steps`, dt = `every`.
    """

    def _share(self, progress: float) -> float:
        left = 1 - progress
        return 1 - left * left * left


@dataclass(frozen=True)
class OneCycle(Schedule):
    """One-cycle pruning: slow, fast, slow, along a logistic curve over the whole training.

    Hubens et al. 2021, arXiv:2107.02086: s_t = s_i + (s_f - s_i) (1 + e^(-alpha + beta)) / (1 + e^(-alpha t +
    beta)), t in 0..1. At t = 0 that formula is e^-beta (0.7 %) of the way; here it is exactly `initial`.

    Args:
        alpha: Steepness.
        beta: How late the rise comes.

    Raises:
        ArgumentError: alpha not above 0, or beta not finite.
    """

    alpha: float = 14.0
    beta: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha <= 500 or not -500 <= self.beta <= 500:
            raise ArgumentError(
                f"alpha must lie in 0..500 (above 0) and beta in -500..500, got {self.alpha} and {self.beta}"
            )

    def _share(self, progress: float) -> float:
        top = 1 + math.exp(self.beta - self.alpha)
        return top / (1 + math.exp(self.beta - self.alpha * progress))


SCHEDULES: dict[str, type[Schedule]] = {
    "one_shot": OneShot,
    "linear": IterativeLinear,
    "geometric": IterativeGeometric,
    "gradual": GradualPruning,
    "one_cycle": OneCycle,
}
"""Schedules by name, for the command line and files."""


def schedule(name: str, final: float, steps: int, **settings: Any) -> Schedule:
    """The schedule of that name.

    Args:
        name: A name in `SCHEDULES`.
        final: Sparsity at the end, in 0..1.
        steps: Steps from the first to the last target.
        settings: Further arguments of the class.

    Raises:
        ArgumentError: An unknown name or setting, or a value outside the rules.
    """
    if name not in SCHEDULES:
        near = get_close_matches(name, SCHEDULES, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ArgumentError(f"there is no schedule '{name}'{hint}; there are: {', '.join(SCHEDULES)}")
    kind = SCHEDULES[name]
    known = tuple(kind.__dataclass_fields__)
    if unknown := [key for key in settings if key not in known]:
        raise ArgumentError(
            f"the schedule '{name}' has no setting '{unknown[0]}'; it has: {', '.join(known)}"
        )
    return kind(final, steps, **settings)


def _check_sparsity(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise ArgumentError(f"{name} must be a share in 0..1 (0.5 prunes half), got {value!r}")
