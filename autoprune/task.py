"""One pruning problem: a network, a budget, and which widths a search may choose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autoprune.budget.bound import BoundBudget
from autoprune.budget.cost import Vector
from autoprune.budget.messages import show
from autoprune.errors import ArgumentError, BudgetError, ModelError
from autoprune.graph.types import PruneGraph

_SLACK = 1e-3
"""Ratios travel as float32, so that `ratio * size` may fall short of a whole number by rounding alone."""

_PROBES = 64
"""How many widths the wall tries at once."""


@dataclass(frozen=True, eq=False)
class Task:
    """What an environment, an allocation and an agent all work on.

    The allowed widths of a group are the multiples of its `round_to` within `lower * size` and `upper * size`
    that leave at least `floor_units`, and the full size if `upper` is 1. A group that this leaves with
    nothing (smaller than `round_to`, for example) stays dense. `lower` and `floor_units` are the guard
    against the collapse of a layer, on by default; groups that must stay dense are locked in the graph
    (`autoprune.allocation.restrict`).

    Attributes:
        graph: The network.
        budget: The limits, bound to the same network.
        curves: Sensitivity curve of every prunable group, shape (size + 1,): relative error by width.
        lower: Smallest keep ratio; every group keeps at least one unit whatever it is.
        upper: Largest keep ratio.
        round_to: Widths are multiples of this; one number for all groups, or one by group name (missing
            groups: 1).
        floor_units: Smallest number of units that a group keeps, beside `lower`.

    Raises:
        ArgumentError: `lower`, `upper`, `round_to` or `floor_units` out of range, or a curve that is missing
            or malformed.
        ModelError: The network has no prunable group.
        BudgetError: Not even the smallest allowed widths meet the budget.
    """

    graph: PruneGraph = field(repr=False)
    budget: BoundBudget
    curves: Mapping[str, NDArray[np.floating]] = field(repr=False)
    lower: float = 0.1
    upper: float = 1.0
    round_to: int | Mapping[str, int] = 1
    floor_units: int = 1

    def __post_init__(self) -> None:
        _check_range(self.lower, self.upper)
        for multiple in self.round_to.values() if isinstance(self.round_to, Mapping) else (self.round_to,):
            _check_count("round_to", multiple)
        _check_count("floor_units", self.floor_units)
        if not self.graph.prunable:
            raise ModelError(
                f"the model must have a group that can be pruned, but all {len(self.graph.groups)} groups "
                "are locked; see the reasons in `graph.groups`"
            )
        if tuple(g.size for g in self.graph.prunable) != self.budget.sizes:
            raise ArgumentError("budget must be bound to the graph of the task; call `budget.bind(graph)`")
        for group in self.graph.prunable:
            _check_curve(group.name, group.size, self.curves)
            if group.size < self.floor_units:
                raise ArgumentError(
                    f"floor_units must not exceed the size of a prunable group, got {self.floor_units}, but "
                    f"'{group.name}' has {group.size} units; lower it or exclude the group"
                )
        self._check_feasible()

    def _check_feasible(self) -> None:
        if self.budget.holds(self.min_widths):
            return
        limits, parts = self.budget.limits, []
        for name in sorted(limits, key=lambda name: self.smallest[name] <= limits[name]):
            smallest = self.smallest[name]
            verb = "is still" if smallest > limits[name] else "reaches"
            share = 100 * smallest / self.budget.dense[name]
            parts.append(
                f"{name} {verb} {show(smallest)} ({share:.3g}% of dense, limit {show(limits[name])})"
            )
        raise BudgetError(
            f"budget '{self.budget}' cannot be met: at the smallest widths that {self._rules} allow, "
            f"{' and '.join(parts)}; raise the budget or lower these"
        )

    @property
    def _rules(self) -> str:
        floor = f", floor_units={self.floor_units}" if self.floor_units > 1 else ""
        multiples = "by group" if isinstance(self.round_to, Mapping) else self.round_to
        return f"lower={self.lower:g}{floor} and round_to={multiples}"

    def _multiple(self, name: str) -> int:
        return self.round_to.get(name, 1) if isinstance(self.round_to, Mapping) else self.round_to

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the prunable groups, in network order."""
        return tuple(group.name for group in self.graph.prunable)

    @cached_property
    def sizes(self) -> Vector:
        """Dense widths, shape (n,)."""
        return np.array(self.budget.sizes, np.int64)

    @cached_property
    def min_widths(self) -> Vector:
        """Smallest allowed widths, shape (n,)."""
        return np.array([allowed[0] for allowed in self._allowed], np.int64)

    @cached_property
    def max_widths(self) -> Vector:
        """Largest allowed widths, shape (n,)."""
        return np.array([allowed[-1] for allowed in self._allowed], np.int64)

    @cached_property
    def smallest(self) -> dict[str, float]:
        """The smallest reachable value of every known cost."""
        return {name: value.item() for name, value in self.budget.costs(self.min_widths).items()}

    @cached_property
    def _allowed(self) -> tuple[Vector, ...]:
        return tuple(
            _allowed(group.size, self.lower, self.upper, self._multiple(group.name), self.floor_units)
            for group in self.graph.prunable
        )

    @cached_property
    def _rounded(self) -> Vector:
        """Shape (n, largest size + 1): the largest allowed width up to a width, or the smallest of all."""
        table = np.empty((len(self.names), self.sizes.max() + 1), np.int64)
        for row, allowed in zip(table, self._allowed, strict=True):
            row[:] = allowed[np.maximum(np.searchsorted(allowed, np.arange(len(row)), "right") - 1, 0)]
        return table

    @cached_property
    def _errors(self) -> NDArray[np.float64]:
        """Shape (n, largest size + 1): the curves, padded with 0."""
        table = np.zeros((len(self.names), self.sizes.max() + 1))
        for row, name, size in zip(table, self.names, self.sizes, strict=True):
            row[: size + 1] = self.curves[name]
        return table

    @cached_property
    def _index(self) -> Vector:
        return np.arange(len(self.names))

    def allowed(self, position: int) -> Vector:
        """The widths that the group at `position` may take, in rising order."""
        return self._allowed[position]

    def errors(self, vector: Vector) -> NDArray[np.float64]:
        """Relative error of every group at its width, shape (..., n) for `vector` of shape (..., n)."""
        return np.asarray(self._errors[self._index, vector])

    def errors_at(self, position: int, widths: Vector) -> NDArray[np.float64]:
        """Relative error of the group at `position` for each of `widths`, of the same shape."""
        return np.asarray(self._errors[position, widths])

    def round_down(self, vector: Vector) -> Vector:
        """The largest allowed widths that do not exceed `vector` (..., n), or the smallest allowed ones."""
        return np.asarray(self._rounded[self._index, np.clip(vector, 0, self.sizes)])

    def from_ratio(self, ratio: float | NDArray[np.floating]) -> Vector:
        """Widths of keep ratios that broadcast against (..., n), rounded down to allowed ones."""
        return self.round_down(np.floor(np.asarray(ratio, np.float64) * self.sizes + _SLACK).astype(np.int64))

    def width_at(self, position: int, ratio: NDArray[np.floating]) -> Vector:
        """Widths of the group at `position` for keep ratios of any shape, rounded down to allowed ones."""
        units = np.floor(ratio * float(self.sizes[position]) + _SLACK).astype(np.int64)
        return np.asarray(self._rounded[position, units])

    def with_rest_smallest(self, position: int, vector: Vector) -> Vector:
        """A copy of `vector` (..., n) with every group from `position` on at its smallest allowed width."""
        result = np.array(vector, np.int64)
        result[..., position:] = self.min_widths[position:]
        return result

    def wall(self, position: int, chosen: Vector) -> int:
        """The largest width that the group at `position` may take so that the budget can still be met.

        All later groups are at their smallest width (AMC, He et al. 2018, Algorithm 1).

        Args:
            position: Position of the group.
            chosen: Widths of shape (n,), or of the first `position` groups alone; the rest is not read.

        Returns:
            One of `allowed(position)`: the smallest if not even that meets the budget, which cannot happen
            where `chosen` respects the walls before.
        """
        full = np.concatenate([np.asarray(chosen, np.int64)[:position], self.min_widths[position:]])
        return int(self.walls(position, full[None])[0])

    def walls(self, position: int, chosen: Vector) -> Vector:
        """`wall` for many candidates: shape (b,) for `chosen` of shape (b, n)."""
        allowed = self._allowed[position]
        rows = self.with_rest_smallest(position, chosen)
        low, high = np.zeros(len(rows), np.int64), np.full(len(rows), len(allowed))
        while (span := int((high - low).max(initial=0))) > 1:
            steps = -(-span // _PROBES) * np.arange(1, min(span, _PROBES))
            probes = np.minimum(low[:, None] + steps, high[:, None] - 1)
            tried = np.repeat(rows[:, None], probes.shape[1], axis=1)
            tried[..., position] = allowed[probes]
            fits = np.where(self.budget.holds(tried), probes, low[:, None]).max(1)
            high = np.where(probes > fits[:, None], probes, high[:, None]).min(1)
            low = fits
        return allowed[low]

    def clip(self, vector: Vector) -> Vector:
        """What an episode makes of `vector` (..., n): rounded down, then lowered by the walls in order."""
        rounded = self.round_down(np.asarray(vector))
        rows = rounded.reshape(-1, len(self.names))
        over = np.flatnonzero(~self.budget.holds(rows))
        for position in range(len(self.names) if len(over) else 0):
            rows[over, position] = np.minimum(rows[over, position], self.walls(position, rows[over]))
        return rows.reshape(rounded.shape)

    def widths(self, vector: Vector) -> dict[str, int]:
        """The widths by group name of one vector of shape (n,)."""
        return dict(zip(self.names, vector.tolist(), strict=True))

    def vector(self, widths: Mapping[str, int]) -> Vector:
        """The vector of shape (n,) of widths by group name; missing groups are dense.

        Raises:
            ArgumentError: An unknown group, a width out of range, or a locked group that loses units.
        """
        full = self.graph.widths(widths)
        return np.array([full[name] for name in self.names], np.int64)


def _allowed(size: int, lower: float, upper: float, round_to: int, floor: int) -> Vector:
    widths = np.arange(round_to, size + 1, round_to)
    widths = widths[(widths >= max(floor, lower * size - 1e-9)) & (widths <= upper * size + 1e-9)]
    if upper == 1.0 or len(widths) == 0:
        widths = np.union1d(widths, [size])
    return widths.astype(np.int64)


def _check_range(lower: float, upper: float) -> None:
    if not 0 <= lower < 1:
        raise ArgumentError(f"lower must lie in [0, 1), the smallest keep ratio, got {lower!r}")
    if not lower < upper <= 1:
        raise ArgumentError(
            f"upper must lie in (lower, 1] with lower={lower!r}, the largest keep ratio, got {upper!r}"
        )


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ArgumentError(f"{name} must be an integer of at least 1, got {value!r}")


def _check_curve(name: str, size: int, curves: Mapping[str, NDArray[np.floating]]) -> None:
    if name not in curves:
        raise ArgumentError(f"curves must hold every prunable group, but '{name}' is missing")
    curve = np.asarray(curves[name])
    if curve.shape != (size + 1,):
        raise ArgumentError(
            f"curves['{name}'] must have shape ({size + 1},), one error per width, got {curve.shape}"
        )
    if not np.isfinite(curve).all():
        bad = int(np.flatnonzero(~np.isfinite(curve))[0])
        raise ArgumentError(f"curves['{name}'] must be finite, got {curve[bad]} at width {bad}")
