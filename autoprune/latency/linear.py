"""Numbers that are linear in the widths, and the few variables that they all depend on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

from autoprune.latency.template import DIM


@dataclass(frozen=True)
class Linear:
    """`fixed + sum(k * width(group))`.

    Attributes:
        fixed: The constant.
        parts: Factor by group name; no zeros.
    """

    fixed: int
    parts: Mapping[str, int]

    @property
    def direction(self) -> dict[str, int]:
        """The parts by their greatest common divisor."""
        divisor = gcd(*self.parts.values())
        return {name: k // divisor for name, k in self.parts.items()}


def basis(item: Any) -> list[dict[str, int]]:
    """The variables that all `Linear` numbers in nested lists depend on, in order of appearance.

    Numbers that depend on the same sum of groups share a variable; where sums overlap, every group is a
    variable of its own.
    """
    directions: list[dict[str, int]] = []
    for number in _linear(item):
        if number.direction not in directions:
            directions.append(number.direction)
    names = [name for direction in directions for name in direction]
    if len(names) == len(set(names)):
        return directions
    return [{name: 1} for name in dict.fromkeys(names)]


def marked(item: Any, variables: Sequence[Mapping[str, int]]) -> Any:
    """`item` with every `Linear` number as JSON in terms of the variables."""
    if isinstance(item, Linear):
        factors = []
        for variable in variables:
            name, k = next(iter(variable.items()))
            factors.append(item.parts.get(name, 0) // k)
        return {DIM: [item.fixed, *factors]}
    if isinstance(item, dict):
        return {key: marked(value, variables) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [marked(value, variables) for value in item]
    return item


def _linear(item: Any) -> list[Linear]:
    if isinstance(item, Linear):
        return [item]
    if isinstance(item, dict):
        item = list(item.values())
    return [n for value in item for n in _linear(value)] if isinstance(item, list | tuple) else []
