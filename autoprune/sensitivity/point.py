"""One measured point."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from autoprune.errors import ArgumentError

Key: TypeAlias = tuple[str, int]
"""Name of the one group that is pruned, and its width."""

Metrics: TypeAlias = Mapping[str, float]
"""`kl`, and with labels `accuracy` and `loss`; see `autoprune.score.Evaluation`."""

MEASURED = ("accuracy", "loss", "kl")
"""What is measured at a point, where it can be."""

FREE = "error"
"""What costs no evaluation."""


@dataclass(frozen=True)
class Point:
    """The network with one group pruned and all others dense.

    Attributes:
        group: The group.
        size: Its dense width in units.
        ratio: Pruning ratio that was asked for, the share of units that goes.
        width: Units that stay: `(1 - ratio) * size` rounded down, at least 1.
        kl: Mean KL divergence of the outputs from the dense network's, nats per image; lower is better.
        error: Reconstruction error at this width, from the calibration alone; lower is better.
        accuracy: Share of the search images that are right; None without labels.
        loss: Cross-entropy in nats per image; None without labels.
    """

    group: str
    size: int
    ratio: float
    width: int
    kl: float
    error: float
    accuracy: float | None = None
    loss: float | None = None

    @property
    def key(self) -> Key:
        """Group and width, on which all else depends."""
        return self.group, self.width

    def value(self, name: str) -> float:
        """The measured quantity `accuracy`, `loss` or `kl`, or the free `error`.

        Raises:
            ArgumentError: Another name, or one that needs labels where there are none.
        """
        check_metric(name)
        found: float | None = getattr(self, name)
        if found is None:
            raise ArgumentError(f"metric '{name}' needs labels, but the search images had none; take 'kl'")
        return found


def check_metric(name: str) -> None:
    """Refuse a quantity that no point has.

    Raises:
        ArgumentError: Not one of `accuracy`, `loss`, `kl`, `error`.
    """
    if name not in (*MEASURED, FREE):
        raise ArgumentError(f"metric must be one of {', '.join((*MEASURED, FREE))}, got {name!r}")
