"""A Gaussian process around the additive model."""

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoprune.budget.cost import Vector
from autoprune.task import Task

Floats = NDArray[np.float64]

_LENGTHS = (1.0, 2.0, 4.0, 8.0)
_BUMPS = (0.03, 0.1, 0.3, 1.0, 3.0)
_NOISES = (0.003, 0.01, 0.03, 0.1)
_START = (1, 2, 1)
_LINEAR = 1.0
"""Variance of the linear part at a typical candidate; every group has an equal share of it."""


class _Fit(NamedTuple):
    """Hyper-parameters as indices, their log posterior, and the solved system."""

    evidence: float
    indices: tuple[int, int, int]
    factor: Floats
    solved: Floats


class ProcessModel:
    """Predicts the logarithm of a candidate's loss, with an uncertainty.

    The mean is the logarithm of the sum of the curve errors, all weighted alike; what that misses is a
    Gaussian process on the errors with a linear part, a Matern 5/2 part and noise (Rasmussen and Williams
    2006, equations 2.25, 2.26 and 4.17). Length scale, size of the Matern part and noise are climbed to on a
    grid by their marginal likelihood, always from the same start, so that a fit depends on the data alone.
    Weights that were fitted beforehand would be explained twice: with more groups than candidates they follow
    every accident, and what they leave looks certain.

    Args:
        task: The problem.
        vectors: Evaluated candidates, shape (k, n).
        losses: Their positive losses, shape (k,).
    """

    def __init__(self, task: Task, vectors: Vector, losses: Floats) -> None:
        self._task = task
        errors = task.errors(vectors)
        self._linear = _LINEAR / errors.shape[1]
        self._center = errors.mean(0)
        self._scale = max(float(errors.std(0).mean()), 1e-6)
        self._points = (errors - self._center) / self._scale
        targets = np.log(losses)
        rest = targets - _additive(errors)
        self._offset = float(np.median(rest))
        self._rest = rest - self._offset
        self._variance = max(float(targets.var()), 1e-4)
        self._distances = _square_distances(self._points, self._points)
        self._products = self._points @ self._points.T
        self._fit = self._climb()

    def __call__(self, vectors: Vector) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the log loss, both (b,), of candidates (b, n)."""
        errors = self._task.errors(vectors)
        points = (errors - self._center) / self._scale
        length, bump, _ = self._values(self._fit.indices)
        matern = _matern(_square_distances(points, self._points), length)
        cross = self._variance * (self._linear * points @ self._points.T + bump * matern + 1.0)
        mean = _additive(errors) + self._offset + cross @ self._fit.solved
        prior = self._variance * (self._linear * (points**2).sum(1) + bump + 1.0)
        explained = (np.linalg.solve(self._fit.factor, cross.T) ** 2).sum(0)
        return mean, np.sqrt(np.maximum(prior - explained, 1e-12))

    @staticmethod
    def _values(indices: tuple[int, int, int]) -> tuple[float, float, float]:
        return _LENGTHS[indices[0]], _BUMPS[indices[1]], _NOISES[indices[2]]

    def _climb(self) -> _Fit:
        """Move to the best neighbor on the grid until there is none."""
        best, seen = self._solve(_START), {_START}
        while True:
            near = [i for i in _neighbors(best.indices) if i not in seen]
            seen.update(near)
            better = max((self._solve(i) for i in near), key=lambda fit: fit.evidence, default=best)
            if better.evidence <= best.evidence:
                return best
            best = better

    def _solve(self, indices: tuple[int, int, int]) -> _Fit:
        length, bump, noise = self._values(indices)
        matern = _matern(self._distances, length)
        eye = np.eye(len(self._rest))
        kernel = self._variance * (self._linear * self._products + bump * matern + noise * eye + 1.0)
        factor = np.linalg.cholesky(kernel)
        solved = np.linalg.solve(factor.T, np.linalg.solve(factor, self._rest))
        prior = np.log(bump / 0.3) ** 2 / 8 + np.log(noise / 0.01) ** 2 / 8 + np.log(length / 3) ** 2 / 4
        evidence = -0.5 * float(self._rest @ solved) - float(np.log(np.diag(factor)).sum()) - float(prior)
        return _Fit(evidence, indices, factor, solved)


def _neighbors(indices: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    counts = (len(_LENGTHS), len(_BUMPS), len(_NOISES))
    found = []
    for axis, step in product(range(3), (-1, 1)):
        moved = list(indices)
        moved[axis] += step
        if 0 <= moved[axis] < counts[axis]:
            found.append((moved[0], moved[1], moved[2]))
    return found


def _additive(errors: Floats) -> Floats:
    """Logarithm of the sum; a common factor is part of the offset."""
    result: Floats = np.log(np.maximum(errors.sum(1), 1e-12))
    return result


def _square_distances(a: Floats, b: Floats) -> Floats:
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    result: Floats = np.maximum(squares, 0.0)
    return result


def _matern(squares: Floats, length: float) -> Floats:
    scaled = np.sqrt(5 * squares) / length
    result: Floats = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return result
