"""What an observation set is: features of where an episode stands, bound to one task."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from autoprune.budget.cost import Vector
from autoprune.budget.messages import did_you_mean
from autoprune.errors import ArgumentError
from autoprune.task import Task

Floats = NDArray[np.float32]


class State(NamedTuple):
    """Where b episodes in lock step stand.

    Attributes:
        position: The group that is to be decided next, n after the last.
        widths: Shape (b, n): decided before `position`, the largest allowed from there on. Not to be changed.
        executed: Shape (b,), the action executed last, in [-1, 1]; 1 at the start.
    """

    position: int
    widths: Vector
    executed: Floats


class BoundObservation(Protocol):
    """An observation set for one task; all that does not change during an episode is precomputed."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        ...

    @property
    def space(self) -> Box:
        """The space of one observation, a float32 Box of shape (len(names),)."""
        ...

    def __call__(self, state: State) -> Floats:
        """Observations of shape (b, len(names)), a new array within `space`; also at position n."""
        ...


class Observation(Protocol):
    """An observation set. A user's own needs these three members."""

    @property
    def name(self) -> str:
        """Which set; stored with a policy."""
        ...

    @property
    def version(self) -> int:
        """Changes whenever a feature does; a policy runs on its own version only."""
        ...

    def bind(self, task: Task) -> BoundObservation:
        """Precompute for one task."""
        ...


def make_observation(observation: "str | Observation") -> Observation:
    """The set of that name, or the object itself.

    Raises:
        ArgumentError: An unknown name.
    """
    from autoprune.envs.amc import AMCObservation
    from autoprune.envs.features import DefaultObservation

    if not isinstance(observation, str):
        return observation
    known: dict[str, Callable[[], Observation]] = {"default": DefaultObservation, "amc": AMCObservation}
    if observation not in known:
        raise ArgumentError(
            f"observation must be a known name or an object, got '{observation}'"
            f"{did_you_mean(observation, known)}"
        )
    return known[observation]()
