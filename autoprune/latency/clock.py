"""Times that can be compared: warm-up, medians, interleaving, pinned threads."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import TypeAlias

import torch

from autoprune.errors import ArgumentError

Run: TypeAlias = Callable[[], object]
Clock: TypeAlias = Callable[[], float]
"""Seconds from any origin."""


def median_ms(run: Run, *, warmup: int = 5, repeats: int = 20, clock: Clock = time.perf_counter) -> float:
    """Median time of one call in milliseconds.

    Args:
        run: What is timed; it returns when the work is done.
        warmup: Calls before the first that counts.
        repeats: Calls that count, at least one.
        clock: What tells the time.
    """
    return interleaved_ms([run], warmup=warmup, rounds=repeats, clock=clock)[0]


def interleaved_ms(
    runs: Sequence[Run], *, warmup: int = 5, rounds: int = 30, clock: Clock = time.perf_counter
) -> list[float]:
    """Median time of one call of each, taken in turns, so that a slow spell of the machine strikes all alike.

    Where there are several, every timed call follows one of the same that is not timed: what the others left
    in the caches, those of compiled primitives too, is not what a network meets that runs alone.

    Raises:
        ArgumentError: `rounds` below 1 or `warmup` below 0.
    """
    if rounds < 1 or warmup < 0:
        raise ArgumentError(f"rounds must be at least 1 and warmup at least 0, got {rounds} and {warmup}")
    for run in runs:
        for _ in range(warmup):
            run()
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, seen in zip(runs, times, strict=True):
            if len(runs) > 1:
                run()
            start = clock()
            run()
            seen.append(clock() - start)
    return [1000 * median(seen) for seen in times]


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Run PyTorch with so many threads; the number before is restored."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
