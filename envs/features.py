"""The default observation set: features that mean the same in every network."""

from typing import ClassVar

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from autoprune.allocation import greedy
from autoprune.budget.cost import Vector
from autoprune.envs import static
from autoprune.envs.observation import Floats, State
from autoprune.task import Task

STANDING = ("target", "removed", "excess", "need", "here", "slack", "reference_excess")
NAMES = (*static.NAMES, *STANDING, "reference", "executed")

_TINY = 1e-12


class DefaultObservation:
    """Features as shares and logarithms, scaled alike for every network, each clipped to [-1, 1].

    What no decision changes (logarithms to base 2):

    - `position` (share of the groups before this one), `depth` (log of the number of groups / 8)
    - `kind_*`: what makes the group: a convolution, a grouped one, a linear layer, anything else
    - `size`, `inputs`, `outputs`: log of the units, of the input channels of the layer that makes the group
      and of the output channels of the layer that reads it, / 12
    - `kernel_before`, `kernel_after`, `stride`: log / 3; `resolution`: log of the side of the feature map
      relative to the largest / 8
    - `macs_share`, `params_share`: what goes with the group, as the log of its ratio to the mean / 8
    - `error_at_*`: sensitivity curve at a keep ratio, 1 + log10(error) / 4; `relative_error_at_*`: log of
      its ratio to the mean over the groups / 8

    Where the episode stands, for the limit that leaves the least freedom (all shares of the dense cost):

    - `target`: the limit; `removed`: removed so far; `excess`: what still exceeds the limit
    - `need`: the part that must go of all that can still go; 1 leaves no choice
    - `here`: the part of all that can still go that goes with this group
    - `slack`: what would be left below the limit if everything else went
    - `reference_excess`: excess over the limit, times 4, if the rest followed a reference allocation
    - `reference`: the action that this allocation takes here; `executed`: the last action

    Args:
        reference: Widths of shape (n,); those of `greedy` by default.
    """

    name: ClassVar[str] = "default"
    version: ClassVar[int] = 1

    def __init__(self, reference: Vector | None = None) -> None:
        self._reference = reference

    def bind(self, task: Task) -> "BoundDefault":
        """Precompute for one task."""
        return BoundDefault(
            task, greedy(task) if self._reference is None else np.asarray(self._reference, np.int64)
        )


class BoundDefault:
    """The default features for one task; see `DefaultObservation`.

    Attributes:
        names: Names of the features.
        space: Box(-1, 1).
    """

    names = NAMES

    def __init__(self, task: Task, reference: Vector) -> None:
        n = len(task.names)
        self.space = Box(-1.0, 1.0, (len(NAMES),), np.float32)
        self._budget = task.budget
        self._dense = np.array([max(task.budget.dense[name], _TINY) for name in task.budget.names])
        self._limit: NDArray[np.float64] = task.budget.bounds / self._dense
        self._rests = _rests(task, reference)
        self._decided = np.tri(n + 1, n, -1, dtype=bool)
        ratios = (reference / task.sizes - task.lower) / (task.upper - task.lower)
        self._reference = (2 * ratios - 1).clip(-1.0, 1.0).astype(np.float32)
        self._static = static.static_features(task).clip(-1.0, 1.0).astype(np.float32)

    def __call__(self, state: State) -> Floats:
        """Observations of shape (b, len(names))."""
        at = min(state.position, len(self._static) - 1)
        result = np.empty((len(state.widths), len(NAMES)), np.float32)
        result[:, : len(static.NAMES)] = self._static[at]
        result[:, len(static.NAMES) : -2] = self._standing(state)
        result[:, -2] = self._reference[at]
        result[:, -1] = state.executed
        return result

    def _standing(self, state: State) -> NDArray[np.float64]:
        """The features `STANDING`, shape (b, len(STANDING))."""
        rows = np.where(self._decided[state.position], state.widths[:, None], self._rests[state.position])
        shares = self._budget.values(rows) / self._dense
        largest, smallest, here, reference = shares[:, 0], shares[:, 1], shares[:, 2], shares[:, 3]
        removable = largest - smallest + _TINY
        excess = largest - self._limit
        result = np.empty((*largest.shape, len(STANDING)))
        result[..., 0] = self._limit
        result[..., 1] = 1 - largest
        result[..., 2] = excess
        result[..., 3] = np.maximum(excess, 0) / removable
        result[..., 4] = (largest - here) / removable
        result[..., 5] = self._limit - smallest
        result[..., 6] = 4 * (reference - self._limit)
        tightest = 0 if result.shape[1] == 1 else result[..., 3].argmax(1)
        return np.asarray(result[np.arange(len(result)), tightest].clip(-1.0, 1.0))


def _rests(task: Task, reference: Vector) -> Vector:
    """What may follow at every position, shape (n + 1, 4, n).

    All groups at their largest, all at their smallest, only the one at the position at its smallest, all
    as in the reference.
    """
    n = len(task.names)
    rests = np.empty((n + 1, 4, n), np.int64)
    rests[:] = np.stack([task.max_widths, task.min_widths, task.max_widths, reference])
    rests[np.arange(n), 2, np.arange(n)] = task.min_widths
    return rests
