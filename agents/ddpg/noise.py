"""Exploration noise on actions in [-1, 1]."""

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def truncated_normal(mean: Floats, sigma: Floats | float, rng: np.random.Generator) -> Floats:
    """Draw from normal distributions cut off at -1 and 1 (He et al. 2018, arXiv:1802.03494, section 3.2).

    By inversion of the distribution function, so that one uniform number is drawn per value.

    Args:
        mean: Means in [-1, 1].
        sigma: Standard deviations before the cut, at least 0; broadcast against `mean`.
        rng: Source of randomness.

    Returns:
        Values in [-1, 1] of the shape of `mean`; the mean itself where sigma is 0.
    """
    uniform = rng.random(mean.shape)
    scale = np.maximum(np.broadcast_to(np.asarray(sigma, np.float64), mean.shape), 1e-12)
    low, high = _ndtr((-1 - mean) / scale), _ndtr((1 - mean) / scale)
    quantile = np.clip(low + uniform * (high - low), 1e-15, 1 - 1e-15)
    drawn: Floats = mean + scale * torch.special.ndtri(torch.from_numpy(quantile)).numpy()
    return np.where(scale > 1e-9, drawn, mean).clip(-1.0, 1.0)


def _ndtr(values: Floats) -> Floats:
    result: Floats = torch.special.ndtr(torch.from_numpy(np.ascontiguousarray(values))).numpy()
    return result


def sigma_at(episode: int, *, warmup: int, start: float, decay: float, floor: float) -> float:
    """Standard deviation: `start` until the warm-up ends, then `decay` per episode down to `floor`."""
    return max(start * decay ** max(0, episode - warmup), floor)
