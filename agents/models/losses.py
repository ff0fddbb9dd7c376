"""Rewards of any sign as positive losses, the smaller the better."""

import numpy as np
from numpy.typing import NDArray


def losses_of(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positive losses of rewards of shape (k,), in the opposite order.

    Negative rewards (minus a KL divergence, minus an error) are turned around. Where one is not negative
    (an accuracy), all are shifted so that the best has a loss of half their spread.
    """
    best = float(rewards.max())
    if best < 0:
        return -rewards
    spread = float(rewards.std()) or 1.0
    result: NDArray[np.float64] = best - rewards + spread / 2
    return result
