"""N:M patterns: exactly N weights stay in each window of M along the input dimension.

Windows lie along dimension 1 (the inputs of a linear layer, the input channels of a convolution at each
kernel position by itself), which is the order in which hardware reads channels-last weights. Where M does not
divide the inputs, the last window is a tail of r < M weights of which min(N, r) stay: the tail then holds
the pattern too, as hardware would pad it with zeros.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from autoprune.errors import ArgumentError
from autoprune.masks.granularity import Granularity
from autoprune.masks.select import check_sparsity, floating


class NM(Granularity):
    """N of every M consecutive weights along dimension 1 stay (2:4: Mishra et al. 2021, arXiv:2104.08378).

    Args:
        n: Weights that stay in each window.
        m: Length of a window.

    Raises:
        ArgumentError: Not 1 <= n <= m.
    """

    def __init__(self, n: int, m: int) -> None:
        if not 1 <= n <= m:
            raise ArgumentError(f"an N:M pattern must have 1 <= N <= M, got {n}:{m}")
        self.n = n
        self.m = m
        self.name = f"{n}:{m}"

    @property
    def sparsity(self) -> float:
        """The share that the pattern prunes of whole windows."""
        return 1 - self.n / self.m

    def mask(self, scores: Tensor, sparsity: float | None = None) -> Tensor:
        """See `Granularity.mask`; the pattern itself fixes the sparsity.

        Raises:
            ArgumentError: A sparsity other than `1 - n / m`, NaN scores, or fewer than 2 dimensions.
        """
        if sparsity is not None:
            check_sparsity(sparsity)
            if abs(sparsity - self.sparsity) > 1e-9:
                raise ArgumentError(
                    f"sparsity must be {self.sparsity:g} (or left out) for the pattern {self.name}, got "
                    f"{sparsity:g}: the granularity 'n:{self.m}' chooses N by the sparsity"
                )
        return _keep_in_windows(scores, self.n, self.m)


class WindowedNM(Granularity):
    """N:M patterns with N chosen by the sparsity: `N = M - round(sparsity * M)` for the whole tensor.

    What a search over per-layer ratios uses. Half-way cases round to the even number of pruned weights.

    Args:
        m: Length of a window.

    Raises:
        ArgumentError: m below 1.
    """

    def __init__(self, m: int) -> None:
        if m < 1:
            raise ArgumentError(f"the window of an N:M pattern must hold at least one weight, got M = {m}")
        self.m = m
        self.name = f"n:{m}"

    def mask(self, scores: Tensor, sparsity: float) -> Tensor:
        """See `Granularity.mask`."""
        check_sparsity(sparsity)
        return _keep_in_windows(scores, self.m - round(sparsity * self.m), self.m)


def follows(mask: Tensor, n: int, m: int) -> bool:
    """Whether at most `n` weights stay in every window of `m` along dimension 1 (in the tail too)."""
    return bool((_windows(mask.to(torch.int64), m, 0).sum(-1) <= n).all())


def _keep_in_windows(scores: Tensor, n: int, m: int) -> Tensor:
    if scores.dim() < 2:
        raise ArgumentError(
            f"scores must have at least 2 dimensions for an N:M pattern, got shape {tuple(scores.shape)}"
        )
    windows = _windows(floating(scores), m, -torch.inf)
    # The padding is -inf at the end of its window, so that a stable order puts it behind real scores of -inf.
    best = windows.sort(dim=-1, descending=True, stable=True).indices[..., :n]
    kept = torch.zeros_like(windows, dtype=torch.bool).scatter_(-1, best, True)
    return kept.flatten(-2)[..., : scores.shape[1]].movedim(-1, 1).contiguous()


def _windows(values: Tensor, m: int, padding: float) -> Tensor:
    """Dimension 1 moved last and cut into (windows, m), the tail filled up with `padding`."""
    last = values.movedim(1, -1)
    padded = F.pad(last, (0, -last.shape[-1] % m), value=padding)
    return padded.reshape(*last.shape[:-1], padded.shape[-1] // m, m)
