"""How much a network's loss feels the curve errors of its groups, predicted from what the groups are."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from autoprune.agents.models import fit_weights, losses_of
from autoprune.budget.cost import Vector
from autoprune.envs.static import NAMES, static_features
from autoprune.task import Task

Floats = NDArray[np.float64]

_STATIC = tuple(name for name in NAMES if name != "depth")
FEATURES = (*_STATIC, "readers", "writers", "read_by_linear")

_RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_LARGEST = 2.0


def no_importance() -> NDArray[np.float32]:
    """Coefficients that weigh all groups alike."""
    return np.zeros(len(FEATURES), np.float32)


def fit_importance(evaluated: Iterable[tuple[Task, Vector, Floats]]) -> NDArray[np.float32]:
    """Learn from evaluated candidates what makes a group's error weigh more.

    For every network the weights of the additive model (`fit_weights`) are fitted to relative losses; then
    one ridge regression over all networks explains the logarithms of the weights, less their mean within the
    network, by the features of the groups, less their mean.

    What holds in one network need not hold in another. So every network is left out in turn and its weights
    are predicted from the others: the ridge is the one that does this best, and where none does better than
    equal weights, or there is one network only, all groups weigh alike.

    Args:
        evaluated: For every network a task, its candidates (k, n) with k at least 1, and their rewards (k,).

    Returns:
        Coefficients of `FEATURES`; zeros where nothing moves from network to network.
    """
    xs, ys = [], []
    for task, vectors, rewards in evaluated:
        losses = losses_of(rewards)
        weights = fit_weights(task.errors(vectors) / losses[:, None], np.ones(len(losses)), ridge=0.03)
        xs.append(_features(task))
        ys.append(np.log(weights) - np.log(weights).mean())
    if len(xs) < 2:
        return no_importance()
    errors = [_left_out(xs, ys, ridge) for ridge in _RIDGES]
    if min(errors) >= sum(float(y @ y) for y in ys):
        return no_importance()
    best = _RIDGES[int(np.argmin(errors))]
    return _solved(np.vstack(xs), np.concatenate(ys), best).astype(np.float32)


def _left_out(xs: list[Floats], ys: list[Floats], ridge: float) -> float:
    """Squared error of the weights of every network, predicted from the others."""
    error = 0.0
    for out, (x, y) in enumerate(zip(xs, ys, strict=True)):
        others = [i for i in range(len(xs)) if i != out]
        known = _solved(np.vstack([xs[i] for i in others]), np.concatenate([ys[i] for i in others]), ridge)
        error += float(np.square(y - x @ known).sum())
    return error


def _solved(x: Floats, y: Floats, ridge: float) -> Floats:
    return np.asarray(np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y), np.float64)


def importance_of(coefficients: NDArray[np.float32], task: Task) -> Floats:
    """Factors of the curves, shape (n,), with geometric mean 1 (as far as none is clipped)."""
    logs = _features(task) @ coefficients.astype(np.float64)
    result: Floats = np.exp(logs.clip(-_LARGEST, _LARGEST))
    return result


def weighted(task: Task, coefficients: NDArray[np.float32]) -> Task:
    """The task with its curves times their importance; the task itself where all weigh alike."""
    if not coefficients.any():
        return task
    factors = importance_of(coefficients, task).tolist()
    curves = {n: np.asarray(task.curves[n]) * f for n, f in zip(task.names, factors, strict=True)}
    return replace(task, curves=curves)


def _features(task: Task) -> Floats:
    """Shape (n, len(FEATURES)), centered within the network."""
    chosen = [NAMES.index(name) for name in _STATIC]
    rows = np.hstack([static_features(task)[:, chosen], [_standing(task, name) for name in task.names]])
    result: Floats = rows - rows.mean(0)
    return result


def _standing(task: Task, name: str) -> list[float]:
    """How many layers read and write the group, as log / 4, and whether a linear layer reads it."""
    readers = [layer for layer in task.graph.layers if any(n == name for n, _ in layer.inputs.parts)]
    writers = [layer for layer in task.graph.layers if any(n == name for n, _ in layer.outputs.parts)]
    counts = [float(np.log2(max(len(found), 1))) / 4 for found in (readers, writers)]
    return [*counts, float(any(layer.kind == "linear" for layer in readers))]
