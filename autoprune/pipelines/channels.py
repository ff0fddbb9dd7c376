"""Removing the least important channels of all groups together."""

from collections.abc import Mapping, Sequence

import numpy as np

from autoprune.allocation.ranked import Scores, checked_scores, removal_order, widths_without
from autoprune.budget import Budget
from autoprune.budget.cost import Vector
from autoprune.graph import PruneGraph
from autoprune.masks import channel_masks
from autoprune.pipelines.work import Work
from autoprune.run.checks import parsed_budget
from autoprune.task import Task

Keep = dict[str, list[int]]


def task_of(graph: PruneGraph, budget: str | Budget | None, lower: float) -> Task:
    """The problem that a pipeline solves: its graph, its budget (None limits nothing) and its guard.

    Raises:
        ArgumentError: `lower` is no share in [0, 1).
        BudgetError: The budget does not parse, or `lower` does not let it be met.
        ModelError: Nothing can be pruned.
    """
    bound = parsed_budget("macs=100%" if budget is None else budget).bind(graph)
    curves = {group.name: np.zeros(group.size + 1) for group in graph.prunable}
    return Task(graph, bound, curves, lower=lower)


def remove_least(
    task: Task, scores: Scores, keep: Mapping[str, Sequence[int]], most: int, *, limited: bool
) -> Keep:
    """Remove units of all groups by rising score, whatever the group, as far as the guard lets them go.

    Args:
        task: The problem.
        scores: Shape (size,) by name of every prunable group, comparable between groups.
        keep: Units that stay so far, by group; missing groups are dense.
        most: How many further units to remove at most.
        limited: Whether to stop as soon as the budget is met.

    Returns:
        The units that stay, by name of every prunable group.
    """
    arrays = checked_scores(task, scores)
    lowest, gone = min(float(array.min()) for array in arrays), 0
    for at, name in enumerate(task.names):
        removed = np.setdiff1d(np.arange(task.sizes[at]), np.asarray(keep.get(name, range(task.sizes[at]))))
        arrays[at] = arrays[at].copy()
        arrays[at][removed] = lowest - 1  # these went before all others
        gone += len(removed)
    order = removal_order(task, arrays, np.arange(len(arrays)))
    count = gone
    while count < min(gone + most, len(order)) and not (
        limited and task.budget.holds(_widths(task, order, count))
    ):
        count += 1
    return best_units(task, dict(zip(task.names, arrays, strict=True)), _widths(task, order, count))


def best_units(task: Task, scores: Scores, widths: Vector) -> Keep:
    """The best units of every prunable group, as many as `widths` (n,) says; of equals the first stay."""
    orders = [np.argsort(-array, kind="stable") for array in checked_scores(task, scores)]
    return {
        name: sorted(order[:width].tolist())
        for (name, width), order in zip(task.widths(widths).items(), orders, strict=True)
    }


def cut(work: Work, keep: Keep) -> dict[str, object]:
    """Zero all but the units that stay, in place, and say so for the history."""
    work.state.keep = keep
    work.state.masks = channel_masks(work.graph, keep)
    work.state.masks.bake(work.model)
    graph, widths = work.graph, {name: len(units) for name, units in keep.items()}
    full = graph.widths(widths)
    return {
        "sparsity": 1 - graph.params(widths) / graph.params(),
        "units": sum(full[group.name] for group in graph.prunable),
        "macs": graph.macs(widths),
        "params": graph.params(widths),
    }


def _widths(task: Task, order: Vector, count: int) -> Vector:
    return widths_without(task, np.bincount(order[:count], minlength=len(task.names)))
