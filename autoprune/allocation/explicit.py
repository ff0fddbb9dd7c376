"""Widths that the user names."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from autoprune.allocation.patterns import matching
from autoprune.budget.cost import Vector
from autoprune.budget.messages import show
from autoprune.errors import ArgumentError, BudgetError
from autoprune.task import Task


def explicit(task: Task, ratios: Mapping[str, float]) -> Vector:
    """Keep ratios by name: the share of its units that a group keeps.

        explicit(task, {"*": 0.7, "layer3.*": 0.4, "layer3.0.conv1.weight": 1.0})

    Args:
        task: The problem.
        ratios: Keep ratio in (0, 1], by group name or pattern (`fnmatch`). Where several match, the last one
            counts; groups that none matches keep their largest width. Widths are rounded down to allowed
            ones, or up to the smallest allowed one.

    Returns:
        Widths of shape (n,) that meet the budget.

    Raises:
        ArgumentError: A pattern that matches no prunable group, a ratio outside (0, 1], or one that asks for
            less than the guard of a group (`lower`, `floor_units` of the task) allows.
        BudgetError: The ratios do not meet the budget.
    """
    chosen = np.full(len(task.names), np.inf)
    source = [""] * len(task.names)
    positions = {name: i for i, name in enumerate(task.names)}
    for pattern, ratio in ratios.items():
        if isinstance(ratio, bool) or not isinstance(ratio, int | float | np.number) or not 0 < ratio <= 1:
            raise ArgumentError(
                f"ratios['{pattern}'] must lie in (0, 1], the share that stays, got {ratio!r}"
            )
        for name in matching(task.graph, pattern, "ratios"):
            chosen[positions[name]], source[positions[name]] = ratio, pattern
    free = np.isinf(chosen)
    widths = np.where(free, task.max_widths, task.from_ratio(np.where(free, 1.0, chosen)))
    _check_guard(task, chosen, source)
    _check_budget(task, widths)
    return widths


def _check_guard(task: Task, chosen: NDArray[np.float64], source: list[str]) -> None:
    for i, ratio in enumerate(chosen.tolist()):
        units = ratio * task.sizes[i]
        if ratio < task.lower - 1e-9 or units < task.floor_units - 1e-3:
            raise ArgumentError(
                f"ratios['{source[i]}']={ratio:g} leaves {units:.4g} of the {task.sizes[i]} units of "
                f"'{task.names[i]}', which is below lower={task.lower:g} or floor_units={task.floor_units}; "
                "raise the ratio or lower these"
            )


def _check_budget(task: Task, widths: Vector) -> None:
    if task.budget.holds(widths):
        return
    limits = task.budget.limits
    values = dict(zip(task.budget.names, task.budget.values(widths).tolist(), strict=True))
    over = ", ".join(
        f"{name} {show(value)} (limit {show(limits[name])})"
        for name, value in values.items()
        if value > limits[name]
    )
    raise BudgetError(
        f"ratios must meet the budget '{task.budget}', but they give {over}; lower some of them"
    )
