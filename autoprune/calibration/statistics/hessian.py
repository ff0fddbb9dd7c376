"""The diagonal of the Hessian."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from autoprune.calibration.statistics.image_gradients import part_of
from autoprune.calibration.statistics.statistic import Statistic, Subject
from autoprune.data import Batch
from autoprune.errors import ArgumentError
from autoprune.score.batches import call as forward

BLOCK = 32
"""Images that share a probe."""


class HessianDiagonal(Statistic):
    """Hutchinson's estimate of the Hessian's diagonal: the mean of v * (H v) over random signs v.

    H is that of the mean loss. The images are cut into blocks of 32 in the order of the pass, whatever the
    batches, and each block has signs of its own, so that the estimate sharpens with the number of images.
    A product H v costs about 3 forward and backward passes; by default every second block is left out, which
    halves the price and leaves the estimate without bias.

    Args:
        probes: Sign vectors per block.
        every: One block in so many is read; 1 reads all images.

    Raises:
        ArgumentError: A number below 1.
    """

    name: ClassVar[str] = "hessian"
    gradients: ClassVar[bool] = True
    labels: ClassVar[bool] = True

    def __init__(self, probes: int = 1, every: int = 2) -> None:
        for name, value in (("probes", probes), ("every", every)):
            if value < 1:
                raise ArgumentError(f"{name} must be at least 1, got {value}")
        self.probes, self.every = probes, every

    def start(self, subject: Subject) -> None:
        """See `Statistic.start`."""
        self._subject = subject
        self._parameters = subject.parameters()
        self._totals = {
            name: torch.zeros(p.shape, dtype=torch.float64, device=p.device)
            for name, p in self._parameters.items()
        }
        self._seen = self._used = 0

    def batch(self, batch: Batch) -> None:
        """Add the images' part of v * (H v)."""
        for block, part in self._blocks(batch):
            for probe in range(self.probes):
                self._add(part, self._signs(block * self.probes + probe))
            self._used += part.size

    def result(self) -> dict[str, Tensor]:
        """The diagonal, of each parameter's shape."""
        return {name: (t / (self._used * self.probes)).cpu() for name, t in self._totals.items()}

    def _blocks(self, batch: Batch) -> Iterator[tuple[int, Batch]]:
        at = 0
        while at < batch.size:
            block, inside = divmod(self._seen, BLOCK)
            count = min(BLOCK - inside, batch.size - at)
            if block % self.every == 0:
                yield block, part_of(batch, at, at + count)
            at += count
            self._seen += count

    def _signs(self, number: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(self._subject.seed * 1_000_003 + number)
        return [
            torch.randint(0, 2, p.shape, generator=generator).mul_(2).sub_(1).to(p.device, p.dtype)
            for p in self._parameters.values()
        ]

    def _add(self, part: Batch, signs: list[Tensor]) -> None:
        assert part.labels is not None
        parameters = list(self._parameters.values())
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            loss = self._subject.loss(forward(self._subject.model, part.inputs), part.labels)
            first = torch.autograd.grad(
                loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True
            )
            along = torch.stack([(g * v).sum() for g, v in zip(first, signs, strict=True)]).sum()
            if not along.requires_grad:  # a loss that is linear in the parameters
                return
            second = torch.autograd.grad(along, parameters, allow_unused=True, materialize_grads=True)
        for total, sign, product in zip(self._totals.values(), signs, second, strict=True):
            total += sign * product * part.size
