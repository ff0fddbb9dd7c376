"""When a race looks, and what it takes for proof."""

import math
from collections.abc import Sequence
from statistics import NormalDist

from torch import Tensor

FIRST = 64
"""Images before the first look; from so many on a mean is close to normal."""

LEVEL = 0.001
"""How often a candidate that is as good as the reference may be stopped, over all looks together."""

SMALL = 32
"""Fewer images are not worth a forward pass of their own."""


def looks(ends: Sequence[int], *, cut: bool = True) -> tuple[int, ...]:
    """After how many images a race looks: 64, 128, 256, ..., but never after all of them.

    Args:
        ends: Where the batches end, ascending; the last is the number of images.
        cut: Whether a batch may be cut. Otherwise, and where less than `SMALL` images would be cut off, the
            look is at the end of a batch.
    """
    found: list[int] = []
    possible = [end for end in ends if end >= FIRST]
    at = FIRST
    while at < ends[-1]:
        near = min(possible, key=lambda end: abs(end - at))
        later = next(end for end in possible if end >= at)
        found.append(later if not cut else near if abs(near - at) < SMALL else at)
        at *= 2
    return tuple(sorted({look for look in found if look < ends[-1]}))


def worse(differences: Tensor, level: float) -> bool:
    """Whether the mean that the differences come from is above 0: a paired one-sided t test.

    Args:
        differences: What the candidate is worth less than the reference, image by image, shape (n,).
        level: How often the test may say so of a mean of 0.
    """
    count = len(differences)
    mean, error = float(differences.mean()), float(differences.std()) / math.sqrt(count)
    return mean > 0 and mean > critical(level, count - 1) * error


def critical(level: float, freedom: int) -> float:
    """What Student's t exceeds with probability `level`, within 0.1 % from 60 degrees of freedom on.

    The expansion around the normal quantile of Abramowitz and Stegun 1964, equation 26.7.5, three terms.
    """
    z = NormalDist().inv_cdf(1 - level)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
