"""Sums of products of widths, multiplied out once so that many candidates are evaluated at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from autoprune.graph.types import Extent, Term

Monomials: TypeAlias = dict[tuple[int, ...], Fraction]
"""Coefficient of every product of widths; a product is a sorted tuple of positions, () the constant."""


@dataclass(frozen=True)
class Widths:
    """How the names in an extent become numbers: positions of prunable groups, sizes of locked ones."""

    positions: Mapping[str, int]
    locked: Mapping[str, int]

    def monomials(self, extent: Extent) -> Monomials:
        """The extent as a polynomial of degree at most one."""
        result: Monomials = {(): Fraction(extent.fixed)}
        for name, k in extent.parts:
            at, factor = (
                ((self.positions[name],), k) if name in self.positions else ((), k * self.locked[name])
            )
            result[at] = result.get(at, Fraction(0)) + factor
        return {at: value for at, value in result.items() if value}


def multiply(left: Monomials, right: Monomials) -> Monomials:
    """The product of two polynomials."""
    result: Monomials = {}
    for a, x in left.items():
        for b, y in right.items():
            at = tuple(sorted(a + b))
            result[at] = result.get(at, Fraction(0)) + x * y
    return result


def divide(numerator: Monomials, divisor: Monomials) -> Monomials | None:
    """The quotient if the divisor is a single product that every summand contains, otherwise None."""
    if len(divisor) != 1:
        return None
    ((below, value),) = divisor.items()
    result: Monomials = {}
    for at, x in numerator.items():
        rest = list(at)
        for position in below:
            if position not in rest:
                return None
            rest.remove(position)
        result[tuple(rest)] = x / value
    return result


def expand(terms: Iterable[Term], widths: Widths) -> tuple[Monomials, list[Term]]:
    """Multiply all terms out and add them up.

    Args:
        terms: The summands of a cost.
        widths: How to read their extents.

    Returns:
        The polynomial, all coefficients integer, and the terms whose quotient is no such polynomial.
    """
    total: Monomials = {}
    left: list[Term] = []
    for term in terms:
        product: Monomials | None = {(): Fraction(term.coefficient)}
        for factor in term.factors:
            product = multiply(product or {}, widths.monomials(factor))
        if term.divisor is not None:
            product = divide(product or {}, widths.monomials(term.divisor))
        if product is None or any(value.denominator != 1 for value in product.values()):
            left.append(term)
            continue
        for at, value in product.items():
            total[at] = total.get(at, Fraction(0)) + value
    return total, left


@dataclass(frozen=True, eq=False)
class Polynomial:
    """A polynomial in n widths, as arrays.

    Attributes:
        constant: The summand without widths.
        linear: Shape (n,).
        quadratic: Shape (n, n), or None if there are no products of two widths.
        higher: For every degree above two, positions of shape (m, degree) and coefficients of shape (m,).
    """

    constant: int
    linear: NDArray[Any]
    quadratic: NDArray[Any] | None
    higher: tuple[tuple[NDArray[np.int64], NDArray[Any]], ...]

    @classmethod
    def compile(cls, monomials: Monomials, n: int, dtype: type[np.generic]) -> "Polynomial":
        """Turn monomials into arrays of `dtype`."""
        linear, quadratic = np.zeros(n, dtype), np.zeros((n, n), dtype)
        higher: dict[int, list[tuple[tuple[int, ...], int]]] = {}
        for at, value in monomials.items():
            if len(at) == 1:
                linear[at] = int(value)
            elif len(at) == 2:
                quadratic[at] = int(value)
            elif at:
                higher.setdefault(len(at), []).append((at, int(value)))
        return cls(
            int(monomials.get((), Fraction(0))),
            linear,
            quadratic if quadratic.any() else None,
            tuple(
                (np.array([at for at, _ in rows], np.int64), np.array([x for _, x in rows], dtype))
                for _, rows in sorted(higher.items())
            ),
        )

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Values of shape (r,) for rows of shape (r, n) of the polynomial's own dtype."""
        total: NDArray[Any] = rows @ self.linear + self.constant
        if self.quadratic is not None:
            total += np.vecdot(rows @ self.quadratic, rows)
        for positions, coefficients in self.higher:
            total += rows[:, positions].prod(-1) @ coefficients
        return total
