"""A union-find over integer ids that works on whole numpy arrays at a time."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ids = NDArray[np.int64]


class UnionFind:
    """Disjoint sets of the integers 0..n-1; the smallest member represents its set."""

    def __init__(self) -> None:
        self._parent: Ids = np.empty(1024, dtype=np.int64)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def new(self, count: int) -> Ids:
        """Add `count` sets of one member each and return them, shape (count,)."""
        first, self._size = self._size, self._size + count
        if self._size > len(self._parent):
            grown = np.empty(max(self._size, 2 * len(self._parent)), dtype=np.int64)
            grown[:first] = self._parent[:first]
            self._parent = grown
        ids = np.arange(first, self._size, dtype=np.int64)
        self._parent[first : self._size] = ids
        return ids

    def find(self, ids: ArrayLike) -> Ids:
        """The representatives of `ids`, same shape."""
        ids = np.asarray(ids, dtype=np.int64)
        roots = self._parent[ids]
        while True:
            up = self._parent[roots]
            if np.array_equal(up, roots):
                return np.asarray(roots)
            self._parent[ids] = up
            roots = up

    def unite(self, a: ArrayLike, b: ArrayLike) -> None:
        """Merge the sets of `a` and `b` element by element; the two shapes broadcast."""
        first, second = np.broadcast_arrays(self.find(a), self.find(b))
        while True:
            differ = first != second
            if not differ.any():
                return
            first, second = first[differ], second[differ]
            # Hooking roots onto smaller ids only cannot make a cycle; pairs that lost the race come again.
            low, high = np.minimum(first, second), np.maximum(first, second)
            np.minimum.at(self._parent, high, low)
            first, second = self.find(low), self.find(high)
