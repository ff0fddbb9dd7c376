"""From groups and ratios to points."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from autoprune.budget.cost import Vector
from autoprune.errors import ArgumentError
from autoprune.score import Evaluation
from autoprune.sensitivity.point import Key, Metrics, Point
from autoprune.task import Task

OnPoint = Callable[[Point, int, int], None]
"""Told every point, how many there are by now and how many there will be."""


def checked_ratios(ratios: Sequence[float]) -> tuple[float, ...]:
    """Pruning ratios in rising order, each once.

    Raises:
        ArgumentError: None, one outside [0, 1), or not numbers.
    """
    try:
        found = [float(ratio) for ratio in ratios]
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"ratios must be numbers such as (0.25, 0.5), got {ratios!r}") from error
    wrong = [ratio for ratio in found if not 0 <= ratio < 1]
    if not found or wrong:
        shown = f"{wrong[0]!r} among them" if wrong else "none"
        raise ArgumentError(f"ratios must be pruning ratios in [0, 1), the share that goes, got {shown}")
    return tuple(sorted(set(found)))


def measure(
    task: Task,
    evaluate: Callable[[Mapping[str, int]], Evaluation],
    groups: Sequence[str],
    ratios: Sequence[float],
    known: Mapping[Key, Metrics],
    record: Callable[[Key, Metrics], None],
    on_point: OnPoint | None = None,
) -> tuple[Point, ...]:
    """Prune every group alone to every ratio; each width is evaluated once.

    Args:
        task: Sizes and free curves; its `lower` must allow the ratios.
        evaluate: What a candidate is worth.
        groups: Names, in network order.
        ratios: Pruning ratios, rising.
        known: What need not be evaluated any more.
        record: Told what has been evaluated, before the next one begins.
        on_point: Listener.
    """
    found: list[Point] = []
    measured = dict(known)
    for group in groups:
        position = task.names.index(group)
        for ratio, width in zip(ratios, widths_at(task, position, ratios).tolist(), strict=True):
            key = group, width
            if key not in measured:
                measured[key] = evaluate({group: width}).metrics
                record(key, measured[key])
            error = float(task.errors_at(position, np.array(width)))
            found.append(Point(group, int(task.sizes[position]), ratio, width, error=error, **measured[key]))
            if on_point is not None:
                on_point(found[-1], len(found), len(groups) * len(ratios))
    return tuple(found)


def widths_at(task: Task, position: int, ratios: Sequence[float]) -> Vector:
    """Units that stay of one group at pruning ratios, of the same shape: rounded down, at least one."""
    return task.width_at(position, 1 - np.asarray(ratios, np.float64))
