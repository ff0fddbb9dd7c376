"""The union-find against a plain one."""

import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.graph.unionfind import UnionFind


def plain(size: int, pairs: list[tuple[int, int]]) -> list[int]:
    """Sets by repeated relabelling; the smallest member represents its set."""
    label = list(range(size))
    for a, b in pairs:
        low, high = sorted((label[a], label[b]))
        label = [low if x == high else x for x in label]
    return label


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 30).flatmap(
        lambda n: st.lists(st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), max_size=20))
    )
)
def test_batches_of_unions(batches: list[list[tuple[int, int]]]) -> None:
    sets = UnionFind()
    sets.new(30)
    for batch in batches:
        if batch:
            a, b = np.array(batch).T
            sets.unite(a, b)
    assert sets.find(np.arange(30)).tolist() == plain(30, [pair for batch in batches for pair in batch])


def test_shapes_broadcast() -> None:
    sets = UnionFind()
    grid = sets.new(12).reshape(3, 4)
    sets.unite(grid, grid[:1])
    assert sets.find(grid).tolist() == [[0, 1, 2, 3]] * 3


def test_long_chains_take_few_steps() -> None:
    """A chain of a million links in one call, then in one call per link to ever smaller ids."""
    sets = UnionFind()
    ids = sets.new(1_000_000)
    start = time.perf_counter()
    sets.unite(ids[:-1], ids[1:])
    assert not sets.find(ids).any()
    short = UnionFind()
    ids = short.new(20_000)
    for i in range(19_999, 0, -1):
        short.unite(ids[i - 1 : i], ids[i : i + 1])
    assert not short.find(ids).any()
    assert time.perf_counter() - start < 10
