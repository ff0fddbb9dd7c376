"""The sparsity that each round of an iterative pipeline aims at."""

from autoprune.errors import ArgumentError
from autoprune.pipelines.sparsify import Sparsifier
from autoprune.schedules import Schedule
from autoprune.schedules import schedule as named


def round_targets(
    sparsify: Sparsifier, sparsity: float | None, rounds: int, schedule: str | Schedule
) -> tuple[float, ...]:
    """Targets of the rounds, in order.

    Args:
        sparsify: Whose granularity may fix the sparsity, and with it the number of rounds (one).
        sparsity: Share of weights to prune at the end; None for a schedule object or a fixed granularity.
        rounds: Number of rounds; a schedule object brings its own.
        schedule: By name, or as an object whose steps are rounds: round r aims at `schedule(r)`.

    Raises:
        ArgumentError: No sparsity, or one that contradicts the schedule or the granularity.
    """
    if sparsify.fixed is not None:
        if sparsity not in (None, sparsify.fixed):
            raise ArgumentError(
                f"sparsity must be {sparsify.fixed:g} (or None) for this N:M pattern, got {sparsity!r}"
            )
        return (sparsify.fixed,)
    if isinstance(schedule, Schedule):
        if sparsity not in (None, schedule.final):
            raise ArgumentError(
                f"sparsity must be that of the schedule ({schedule.final:g}) or None, got {sparsity!r}"
            )
        return tuple(schedule(step) for step in range(1, max(1, schedule.end) + 1))
    if sparsity is None:
        raise ArgumentError("sparsity must be the share of weights to prune, got None")
    curve = named(schedule, sparsity, rounds)
    return tuple(curve(step) for step in range(1, rounds + 1))
