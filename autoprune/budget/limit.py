"""One upper bound on one cost, as a user writes it."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import floor

from autoprune.budget.messages import did_you_mean
from autoprune.budget.units import COSTS, worth, written
from autoprune.errors import BudgetError

ALLOWED = (
    "allowed: NAME=NUMBER% of the dense model or NAME=NUMBER with an optional unit (K, M, G; bytes: KB, MB, "
    "MiB; time: us, ms, s), separated by commas"
)
_UNITS = r"%|[GMKk]i?B|[GMKk]|B|[um]?s"
_LIMIT = re.compile(
    rf"\s*(\w+)\s*=\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{{1,2}})?)\s*({_UNITS})?\s*", re.ASCII
)


@dataclass(frozen=True, order=True)
class Limit:
    """An upper bound on one cost. `Limit.parse(str(limit)) == limit`.

    Attributes:
        name: Name of the cost.
        value: Percent of the dense model's cost if `relative`, otherwise the cost itself: bytes for `size`
            and `memory`, milliseconds for `latency`.
        relative: Which of the two.

    Raises:
        BudgetError: A value of 0 or below, not finite, or above 100 percent.
    """

    name: str
    value: Decimal
    relative: bool

    def __post_init__(self) -> None:
        if not self.value.is_finite() or self.value <= 0:
            raise BudgetError(f"budget '{self.name}={self.value:f}' must be above 0")
        if self.relative and self.value > 100:
            raise BudgetError(f"budget '{self}' must be at most 100% of the dense model")

    @classmethod
    def parse(cls, text: str, costs: Collection[str] = COSTS) -> "Limit":
        """Read one limit, for example `macs=50%`, `params=0.5M`, `size=1.5MiB` or `latency=5ms`.

        Raises:
            BudgetError: The text does not parse, the cost is not one of `costs`, or the value is not allowed.
        """
        match = _LIMIT.fullmatch(text)
        if match is None:
            raise BudgetError(f"budget '{text.strip()}' does not parse; {ALLOWED}")
        name, number, suffix = match.groups()
        check_known(name, costs)
        if suffix == "%":
            return cls(name, Decimal(number), True)
        return cls(name, Decimal(number) * worth(name, suffix or ""), False)

    def absolute(self, dense: float) -> float:
        """The largest cost that is allowed if the dense model costs `dense`; an int if that is one."""
        value = Fraction(self.value) * Fraction(dense) / 100 if self.relative else Fraction(self.value)
        return floor(value) if isinstance(dense, int) else float(value)

    def __str__(self) -> str:
        if self.relative:
            return f"{self.name}={self.value.normalize():f}%"
        return f"{self.name}={written(self.name, self.value)}"


def check_known(name: str, known: Collection[str]) -> None:
    """Refuse a limit on an unknown cost.

    Raises:
        BudgetError: `name` is not in `known`; the message names the nearest.
    """
    if name not in known:
        raise BudgetError(f"a budget cannot limit '{name}'{did_you_mean(name, known)}")
