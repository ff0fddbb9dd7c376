"""Where the time goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from autoprune.display import Shown


class Timings(Shown):
    """Wall seconds by part of the work.

    Parts may lie within others: what an inner one takes is not counted for the outer one, so that all
    together are the time that passed.

    Attributes:
        seconds: By part, in the order in which they first ended.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = []

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count the block for `part`."""
        start = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            passed = time.perf_counter() - start
            self.seconds[part] = self.seconds.get(part, 0.0) + passed - self._inner.pop()
            if self._inner:
                self._inner[-1] += passed

    @property
    def total(self) -> float:
        """Seconds of all parts."""
        return sum(self.seconds.values())

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """One line per part, the longest first."""
        rows = sorted(self.seconds.items(), key=lambda row: -row[1])
        wide = max(map(len, self.seconds), default=0)
        share = {part: 100 * seconds / self.total if self.total else 0.0 for part, seconds in rows}
        return "\n".join(f"{part:<{wide}}  {seconds:9.2f} s  {share[part]:5.1f}%" for part, seconds in rows)
