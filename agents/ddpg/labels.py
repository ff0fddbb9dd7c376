"""What the steps of an episode are paid."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LARGEST = 3.0


def final_rewards(rewards: Floats, n: int) -> tuple[Floats, Floats]:
    """AMC's payment: every step gets the final reward, the critic bootstraps until the episode ends.

    Args:
        rewards: Final rewards of k episodes, shape (k,).
        n: Steps per episode.

    Returns:
        Rewards and ends, both (k, n).
    """
    ends = np.zeros((len(rewards), n))
    ends[:, -1] = 1.0
    return np.repeat(rewards[:, None], n, axis=1), ends


def standard_returns(credits: Floats, totals: Floats) -> tuple[Floats, Floats]:
    """Returns to go from payments on the way, as targets of a critic that does not bootstrap.

    The last step is also paid what the payments miss of the total. From every return the mean return at
    its step is taken off, a baseline that changes no comparison of actions. All are divided by their common
    standard deviation and clipped.

    Args:
        credits: Payments on the way, shape (k, n).
        totals: Rewards of the episodes, shape (k,).

    Returns:
        Targets and ends (all 1), both (k, n).
    """
    missed = totals - credits.sum(1)
    returns = credits[:, ::-1].cumsum(1)[:, ::-1] + missed[:, None]
    centered = returns - returns.mean(0)
    targets = (centered / max(float(centered.std()), 1e-9)).clip(-_LARGEST, _LARGEST)
    return targets, np.ones_like(targets)
