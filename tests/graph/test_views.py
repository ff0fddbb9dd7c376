"""Views move ids exactly as they move elements."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from autoprune.graph import trace
from autoprune.graph.rules.view import blocks

SHAPES = [
    ((2, 6, 4), (2, 24)),
    ((2, 24), (2, 6, 4)),
    ((2, 12), (2, 3, 4)),
    ((2, 3, 4), (2, 2, 6)),
    ((4, 1), (4,)),
    ((), (1, 1)),
    ((1,), ()),
    ((2, 0, 3), (0,)),
    ((3, 1, 2), (6, 1)),
]


@pytest.mark.parametrize(("before", "after"), SHAPES)
def test_blocks_hold_the_same_elements(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    found = blocks(before, after)
    assert [i for rows, _ in found for i in rows] == list(range(len(before)))
    assert [j for _, columns in found for j in columns] == list(range(len(after)))
    for rows, columns in found:
        assert math.prod(before[i] for i in rows) == math.prod(after[j] for j in columns)


def factorizations(number: int) -> st.SearchStrategy[tuple[int, ...]]:
    if number == 1:
        return st.just(())
    divisors = [d for d in range(2, number + 1) if number % d == 0]
    return st.sampled_from(divisors).flatmap(
        lambda d: factorizations(number // d).map(lambda rest: (d, *rest))
    )


class Reshaped(nn.Module):
    def __init__(self, shapes: tuple[tuple[int, ...], ...], order: list[int]):
        super().__init__()
        self.first, self.shapes, self.order = nn.Linear(3, 24), shapes, order
        self.last = nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).reshape(2, *self.shapes[0])
        y = y.permute(0, *(1 + i for i in self.order))
        return self.last(y.reshape(2, *self.shapes[1]).flatten(1))


@st.composite
def reshapings(draw: Any) -> Any:
    first = draw(factorizations(24))
    order = draw(st.permutations(range(len(first))))
    return first, order, draw(factorizations(24))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(reshapings())
def test_any_chain_of_views_keeps_units_rectangular(drawn: Any) -> None:
    """Removing a unit of the first layer removes exactly its elements, wherever the views put them."""
    first, order, second = drawn
    graph = trace(Reshaped((first, second), order), torch.randn(2, 3))
    places = np.arange(24).reshape(first).transpose(order).ravel()
    for group in graph.prunable:
        axes = {(a.parameter, a.dim): a.indices for a in group.axes}
        for unit in range(group.size):
            out, into = axes["first.weight", 0][unit], axes["last.weight", 1][unit]
            assert sorted(places[into]) == sorted(out)
            stays = np.setdiff1d(np.arange(24), out)
            rows = np.isin(np.arange(24), stays).reshape(first)
            assert rows.sum() == math.prod(
                int(np.any(rows, axis=tuple(j for j in range(rows.ndim) if j != d)).sum())
                for d in range(rows.ndim)
            )
