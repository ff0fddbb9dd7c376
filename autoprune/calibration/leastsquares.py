"""Least squares with a ridge that draws towards given weights, and with a ReLU behind."""

import torch
from torch import Tensor

from autoprune.calibration.moments import ridge_of


def solve(left: Tensor, right: Tensor, ridge: float) -> Tensor:
    """Solve `(left + lam I) x = right` per group; lam grows tenfold until the factorization succeeds.

    Args:
        left: Symmetric, shape (groups, d, d), positive semi-definite up to rounding.
        right: Shape (groups, d, outputs).
        ridge: lam relative to the mean of the diagonal of `left`.
    """
    factor = factorize(left, ridge)
    solution: Tensor = torch.cholesky_solve(right, factor)
    return solution


def factorize(left: Tensor, ridge: float) -> Tensor:
    """The Cholesky factor of `left + lam I`, shape (groups, d, d); lam as in `solve`."""
    for power in range(16):
        regular: Tensor = left.clone()
        regular.diagonal(dim1=-2, dim2=-1).add_(ridge_of(left, max(ridge, 1e-12) * 10**power)[:, None])
        factor, failed = torch.linalg.cholesky_ex(regular)
        if not bool(failed.any()) and bool(torch.isfinite(factor).all()):
            result: Tensor = factor
            return result
    return torch.eye(left.shape[-1], dtype=left.dtype, device=left.device).expand_as(left)


def gram(rows: Tensor, block: int = 96) -> Tensor:
    """`rows.mT @ rows`, shape (groups, d, d): one triangle computed, block by block, the other mirrored."""
    width = rows.shape[-1]
    result = rows.new_empty(len(rows), width, width)
    for start in range(0, width, block):
        stop = min(start + block, width)
        torch.matmul(rows[..., start:stop].mT, rows[..., :stop], out=result[:, start:stop, :stop])
        result[:, :start, start:stop] = result[:, start:stop, :start].mT
    return result


class Regression:
    """Weights from sampled rows: `targets ~ rows @ weights + offset`.

    Args:
        rows: Shape (groups, rows, d).
        constant: Whether an offset is fitted with the weights.
        ridge: Relative to the mean diagonal element of the rows' moment. It draws towards `start`.
        start: Weights of shape (groups, d, outputs), float64.
    """

    def __init__(self, rows: Tensor, constant: bool, ridge: float, start: Tensor) -> None:
        self._rows, self._start = rows, start
        count = rows.shape[1]
        second = gram(rows).double() / count
        mean = rows.mean(1).double()
        self._mean = mean if constant else torch.zeros_like(mean)
        self._second = second - self._mean[:, :, None] * self._mean[:, None, :]
        self._factor = factorize(self._second, ridge)
        self._constant = constant

    def fit(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (groups, d, outputs) and offset (groups, outputs) for targets (groups, rows, outputs)."""
        cross = (targets.mT @ self._rows).mT.double() / targets.shape[1]
        mean = targets.mean(1, dtype=torch.float64) if self._constant else torch.zeros_like(cross[:, 0])
        cross = cross - self._mean[:, :, None] * mean[:, None, :]
        weights = self._start + torch.cholesky_solve(cross - self._second @ self._start, self._factor)
        return weights, mean - (self._mean[:, None] @ weights)[:, 0]

    def predict(self, weights: Tensor, offset: Tensor, first: int | None = None) -> Tensor:
        """`rows @ weights + offset` of all rows or the first ones, shape (groups, rows, outputs)."""
        rows = self._rows[:, :first]
        return torch.baddbmm(offset.to(rows.dtype)[:, None], rows, weights.to(rows.dtype))

    def fit_relu(self, values: Tensor, added: Tensor | float, steps: int) -> tuple[Tensor, Tensor]:
        """Weights for `relu(values) ~ relu(rows @ weights + offset + added)`.

        Where the dense value is negative, any negative value will do (Zhang et al. 2016, arXiv:1505.06798,
        section 3.2). Each step solves for targets that are the present value there, cut at 0: a bound from
        above of the error behind the ReLU, tight but for positive values that are negative at present.

        Args:
            values: Dense values before the ReLU, (groups, rows, outputs).
            added: What is added to the layer's own values, of the same shape, or 0.
            steps: How many steps; 0 ignores the ReLU.
        """
        weights, offset = self.fit(values - added)
        for _ in range(steps):
            present = self.predict(weights, offset) + added
            weights, offset = self.fit(torch.where(values < 0, present.clamp_(max=0), values) - added)
        return weights, offset
