"""Several processes that evaluate candidates side by side."""

import gc
import logging
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from types import TracebackType
from typing import Self

import torch

from autoprune.errors import ArgumentError, RunError
from autoprune.score import Evaluation

logger = logging.getLogger(__name__)

Widths = Mapping[str, int]
Evaluate = Callable[[Widths], Evaluation]

ATTEMPTS = 3
"""How often the candidates of a worker that died are given to new workers."""


class Workers:
    """`count` processes that hold one evaluator and evaluate candidates side by side.

    The processes are forked, so that network, moments and images lie in memory once. Each uses one thread.
    A worker that dies is replaced, and what it had to evaluate is evaluated again. When this process ends,
    however it ends, so do they.

    Args:
        evaluate: Gives the value of a candidate, which depends on nothing else.
        count: How many processes, at least 1.

    Raises:
        ArgumentError: `count` below 1, or a system that cannot fork.
    """

    def __init__(self, evaluate: Evaluate, count: int) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ArgumentError(f"workers must be an integer of at least 1, got {count!r}")
        if "fork" not in multiprocessing.get_all_start_methods():
            raise ArgumentError("workers must be 1 on a system that cannot fork processes; leave it out")
        self.count = count
        self._evaluate = evaluate
        self._pool: ProcessPoolExecutor | None = None

    def __call__(self, candidates: Sequence[Widths]) -> list[Evaluation]:
        """The values of candidates, in their order; equal ones are evaluated once.

        Raises:
            RunError: Workers died again and again.
            Exception: Whatever the evaluator raises, that of the first such candidate.
        """
        return each_once(candidates, self._all)

    def _all(self, candidates: list[dict[str, int]]) -> list[Evaluation]:
        for attempt in range(ATTEMPTS):
            try:
                return list(self._started().map(_evaluated, candidates))
            except BrokenProcessPool:
                logger.warning("a worker died (attempt %d of %d); its candidates go to new workers",
                               attempt + 1, ATTEMPTS)  # fmt: skip
                self.close()
        raise RunError(
            f"the workers died {ATTEMPTS} times over the same candidates, perhaps for want of memory; "
            "use fewer workers"
        )

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("fork")
            arguments = (self._evaluate, os.getpid())
            self._pool = ProcessPoolExecutor(self.count, context, _begin, arguments)
            gc.collect()
            gc.freeze()  # collections in the workers then leave the pages alone that they share
            with warnings.catch_warnings():
                # Python warns of forks beside threads; the workers use neither's locks.
                warnings.simplefilter("ignore", DeprecationWarning)
                list(self._pool.map(_ready, range(self.count)))
            gc.unfreeze()
        return self._pool

    def close(self) -> None:
        """End the processes; the next call starts new ones."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()


def each_once(
    candidates: Sequence[Widths], evaluate: Callable[[list[dict[str, int]]], list[Evaluation]]
) -> list[Evaluation]:
    """What `evaluate` gives for distinct candidates, for all of them in their order."""
    distinct = {tuple(sorted(widths.items())): dict(widths) for widths in candidates}
    found = dict(zip(distinct, evaluate(list(distinct.values())), strict=True))
    return [found[tuple(sorted(widths.items()))] for widths in candidates]


_HELD: list[Evaluate] = []
"""The evaluator of a worker."""


def _begin(evaluate: Evaluate, parent: int) -> None:
    """What a worker does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)  # a forked process has none of the threads that OpenMP remembers
    _HELD[:] = [evaluate]
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    """End with the parent, even where it is killed."""
    process = multiprocessing.parent_process()
    if process is not None and os.getppid() == parent:
        wait([process.sentinel])
    os._exit(1)


def _ready(number: int) -> int:
    return number


def _evaluated(widths: dict[str, int]) -> Evaluation:
    return _HELD[0](widths)
