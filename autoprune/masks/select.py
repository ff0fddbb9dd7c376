"""Choosing the best of many scores, exactly so many, the same ones every time."""

from numbers import Real

import torch
from torch import Tensor

from autoprune.errors import ArgumentError


def check_sparsity(sparsity: object, argument: str = "sparsity") -> None:
    """Refuse what is no share.

    Raises:
        ArgumentError: Not a number in 0..1.
    """
    if isinstance(sparsity, bool) or not isinstance(sparsity, Real) or not 0 <= float(sparsity) <= 1:
        raise ArgumentError(f"{argument} must be a share in 0..1 (0.5 prunes half), got {sparsity!r}")


def floating(scores: Tensor) -> Tensor:
    """Scores in single precision at least (integers in double), so that means and comparisons can be trusted.

    Raises:
        ArgumentError: Some scores are NaN.
    """
    scores = scores.detach()
    if not scores.is_floating_point():
        return scores.to(torch.float64)
    if bool(scores.isnan().any()):
        raise ArgumentError("scores must not hold NaN: check the model and the data that they come from")
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def keep_best(scores: Tensor, count: int) -> Tensor:
    """Bool tensor of the shape of `scores`, True for the `count` highest; of equal ones, the first stay.

    Raises:
        ArgumentError: Some scores are NaN (a unit that holds both `inf` and `-inf` has no mean).
    """
    flat = scores.flatten()
    if bool(flat.isnan().any()):
        raise ArgumentError("scores must not hold both inf and -inf within one unit: it has no mean")
    if count <= 0 or count >= flat.numel():
        return torch.full_like(scores, count > 0, dtype=torch.bool)
    threshold = flat.kthvalue(flat.numel() - count + 1).values
    best, equal = flat > threshold, flat == threshold
    missing = count - best.sum()
    return (best | (equal & (equal.cumsum(0) <= missing))).reshape(scores.shape)
