"""How much alike the groups of two networks are."""

import hashlib
import json
from collections.abc import Sequence
from math import exp
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoprune.agents.policies.card import Source
from autoprune.budget import Budget
from autoprune.envs.static import NAMES, static_features
from autoprune.graph import PruneGraph
from autoprune.task import Task

COMPARED = tuple(name for name in NAMES if "error" not in name)
"""What a network's structure says of a group; its sensitivity curve needs data and is left out."""

FAR = 0.5
"""Mean distance from which on a policy is applied with a warning: other kinds of layers, or sizes that differ
by a factor of 64, for example."""


class Likeness(NamedTuple):
    """How much alike.

    Attributes:
        distance: Euclidean distance to the nearest known group, mean over the groups of the new network.
        furthest: The group with the largest one.
    """

    distance: float
    furthest: str

    @property
    def similarity(self) -> float:
        """exp(-distance): 1 for equal groups, towards 0."""
        return exp(-self.distance)

    @property
    def far(self) -> bool:
        """Whether the policy has seen nothing of this kind."""
        return self.distance > FAR

    def __str__(self) -> str:
        return f"{100 * self.similarity:.0f}% similar (distance {self.distance:.2f})"


def group_features(graph: PruneGraph) -> NDArray[np.float32]:
    """Features of all prunable groups, shape (n, len(COMPARED)), scaled alike for every network.

    They need neither data nor a budget and do not depend on which widths are allowed.
    """
    flat = {group.name: np.zeros(group.size + 1) for group in graph.prunable}
    task = Task(graph, Budget.parse("macs=100%").bind(graph), flat, lower=0.0)
    chosen = [NAMES.index(name) for name in COMPARED]
    return static_features(task)[:, chosen].clip(-1.0, 1.0).astype(np.float32)


def likeness(names: Sequence[str], new: NDArray[np.floating], known: NDArray[np.floating]) -> Likeness:
    """Compare groups.

    Args:
        names: Of the new network's groups.
        new: Their features, shape (n, f).
        known: Features of the groups that a policy has seen, shape (m, f).
    """
    squares = ((new[:, None].astype(np.float64) - known[None]) ** 2).sum(-1)
    nearest = np.sqrt(squares.min(1))
    return Likeness(float(nearest.mean()), names[int(nearest.argmax())])


def source_of(task: Task) -> Source:
    """How a card names the network of a task."""
    model = task.graph.model
    shapes = {name: list(shape) for name, shape in task.graph.fingerprint.items()}
    sizes = dict(zip(task.names, task.sizes.tolist(), strict=True))
    digest = hashlib.sha256(json.dumps([shapes, sizes], sort_keys=True).encode()).hexdigest()
    name = "unknown" if model is None else type(model).__name__
    return Source(name=name, fingerprint=digest, groups=len(task.names))
