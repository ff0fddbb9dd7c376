"""An observation set with noise on what a group is, so that a policy cannot learn single groups by heart."""

import numpy as np

from autoprune.envs import static
from autoprune.envs.observation import BoundObservation, Floats, Observation, State
from autoprune.task import Task


class Blurred:
    """Another observation set with normal noise on its features that no decision changes.

    Domain randomization (Tobin et al. 2017, arXiv:1703.06907): a policy that is trained with it and used
    without reacts to what many networks have in common.

    Args:
        inner: The observation set; its features are named as those of `static.NAMES` where they are static.
        sigma: Standard deviation of the noise.
        rng: Source of the noise.
    """

    def __init__(self, inner: Observation, sigma: float, rng: np.random.Generator) -> None:
        self.name, self.version = inner.name, inner.version
        self._inner, self._sigma, self._rng = inner, sigma, rng

    def bind(self, task: Task) -> "BoundBlurred":
        """Precompute for one task."""
        return BoundBlurred(self._inner.bind(task), self._sigma, self._rng)


class BoundBlurred:
    """The noisy features for one task; see `Blurred`.

    Attributes:
        names: Names of the features.
        space: Their space.
    """

    def __init__(self, inner: BoundObservation, sigma: float, rng: np.random.Generator) -> None:
        self.names, self.space = inner.names, inner.space
        self._inner, self._rng = inner, rng
        self._sigmas = sigma * np.array([name in static.NAMES for name in inner.names], np.float32)

    def __call__(self, state: State) -> Floats:
        """Observations of shape (b, len(names))."""
        clean = self._inner(state)
        noise = self._rng.standard_normal(clean.shape, np.float32) * self._sigmas
        result: Floats = np.clip(clean + noise, self.space.low, self.space.high)
        return result
