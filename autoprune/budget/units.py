"""Units of absolute limits: what may stand behind the number, and what it is worth."""

from collections.abc import Mapping
from decimal import Decimal

from autoprune.errors import BudgetError

COSTS = ("macs", "params", "size", "memory", "latency")
"""The costs that a budget can limit."""

COUNTS: Mapping[str, Decimal] = {
    "": Decimal(1),
    "K": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
}
_BYTES: Mapping[str, Decimal] = {
    "B": Decimal(1),
    "KB": Decimal(10**3),
    "MB": Decimal(10**6),
    "GB": Decimal(10**9),
    "KIB": Decimal(2**10),
    "MIB": Decimal(2**20),
    "GIB": Decimal(2**30),
}
_MILLISECONDS: Mapping[str, Decimal] = {"MS": Decimal(1), "US": Decimal("0.001"), "S": Decimal(1000)}
_OWN: Mapping[str, Mapping[str, Decimal]] = {"size": _BYTES, "memory": _BYTES, "latency": _MILLISECONDS}
_EXAMPLES = {"size": "2MB or 1.5MiB", "memory": "2MB or 1.5MiB", "latency": "5ms or 800us"}


def worth(name: str, suffix: str) -> Decimal:
    """What one unit is worth in the unit of the cost: bytes, milliseconds, or a plain count.

    Raises:
        BudgetError: The cost has no such unit.
    """
    known = {**COUNTS, **_OWN.get(name, {})}
    if suffix.upper() not in known:
        example = _EXAMPLES.get(name, "0.5M")
        raise BudgetError(f"budget '{name}' has no unit '{suffix}'; write {example}, or a percentage")
    return known[suffix.upper()]


def written(name: str, value: Decimal) -> str:
    """A value with its unit, which `worth` reads back without loss: `1.5MB`, `5ms`, `500K`."""
    if name == "latency":
        return f"{value.normalize():f}ms"
    unit = "B" if name in ("size", "memory") else ""
    power, letter = next(((p, s) for s, p in (("G", 9), ("M", 6), ("K", 3)) if value >= 10**p), (0, ""))
    return f"{value.scaleb(-power).normalize():f}{letter}{unit}"
