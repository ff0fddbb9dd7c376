"""The surrogate that free episodes are paid by."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from autoprune.agents.models import ProcessModel, fit_weights, losses_of
from autoprune.budget.cost import Vector
from autoprune.task import Task

Floats = NDArray[np.float64]

FEW = 4
"""With fewer candidates than this nothing can be said about uncertainty."""

_SPREAD = 0.3
_MOST = 600


class Surrogate(Protocol):
    """What candidates promise."""

    def credits(self, vectors: Vector) -> Floats:
        """Payments of the steps on the scale of the totals, shape (b, n), for widths (b, n)."""
        ...

    def totals(self, vectors: Vector) -> Floats:
        """What the candidates promise, higher is better, shape (b,)."""
        ...


class Additive(NamedTuple):
    """The additive model; the total is minus the logarithm of the loss, linearized for the credits.

    Attributes:
        task: The problem.
        weights: Weights of the curves.
        loss: A typical loss.
    """

    task: Task
    weights: Floats
    loss: float

    def credits(self, vectors: Vector) -> Floats:
        """See `Surrogate`."""
        result: Floats = -self.task.errors(vectors) * self.weights / self.loss
        return result

    def totals(self, vectors: Vector) -> Floats:
        """See `Surrogate`."""
        result: Floats = -np.log(np.maximum(self.task.errors(vectors) @ self.weights, 1e-12))
        return result


class Optimistic(NamedTuple):
    """The Gaussian process with a bonus for what is uncertain (Srinivas et al. 2010, arXiv:0912.3995).

    Attributes:
        additive: Pays the credits.
        model: Predicts the totals.
        optimism: Weight of the standard deviation.
    """

    additive: Additive
    model: ProcessModel
    optimism: float

    def credits(self, vectors: Vector) -> Floats:
        """See `Surrogate`."""
        return self.additive.credits(vectors)

    def totals(self, vectors: Vector) -> Floats:
        """See `Surrogate`."""
        mean, deviation = self.model(vectors)
        return self.optimism * deviation - mean


def curve_credits(task: Task, vectors: Vector, rewards: Floats) -> Floats:
    """What the fitted curves pay the steps of evaluated candidates, (k, n), on the scale of rewards (k,)."""
    errors = task.errors(vectors)
    result: Floats = -errors * fit_weights(errors, losses_of(rewards))
    return result


def fit_surrogate(
    task: Task, vectors: Vector, rewards: Floats, optimism: float, rng: np.random.Generator
) -> Surrogate:
    """Fit to evaluated candidates.

    With few of them it is the additive model with perturbed weights, so that the first candidates differ.

    Args:
        task: The problem.
        vectors: Evaluated candidates, shape (k, n), k at least 1.
        rewards: Their rewards, shape (k,).
        optimism: The weight of the standard deviation is this times log2(1 + k / n): it grows with the number
            of candidates, as in Srinivas et al. 2010 (arXiv:0912.3995), the slower the more groups there are.
        rng: Perturbs the weights.
    """
    chosen = _chosen(rewards)
    vectors, losses = vectors[chosen], losses_of(rewards)[chosen]
    weights = fit_weights(task.errors(vectors), losses)
    if len(rewards) < FEW:
        weights = weights * np.exp(_SPREAD * rng.standard_normal(len(weights)))
        return Additive(task, weights, float(losses.mean()))
    return Optimistic(
        Additive(task, weights, float(losses.mean())),
        ProcessModel(task, vectors, losses),
        optimism * float(np.log2(1 + len(rewards) / vectors.shape[1])),
    )


def _chosen(rewards: Floats) -> NDArray[np.int64]:
    """All candidates while they are few; then the best and the latest, in order."""
    count = len(rewards)
    if count <= _MOST:
        return np.arange(count)
    best = np.argsort(-rewards, kind="stable")[: _MOST // 2]
    return np.union1d(best, np.arange(count - _MOST // 2, count))
