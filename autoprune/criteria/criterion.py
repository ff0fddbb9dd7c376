"""What a criterion is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from autoprune.graph import PruneGraph

if TYPE_CHECKING:
    from autoprune.calibration import Calibration


@dataclass(frozen=True, eq=False)
class Context:
    """All that a criterion may look at.

    Attributes:
        graph: The graph.
        tensors: Parameters and buffers of the dense network by name.
        calibration: Moments, or None.
        generator: Source of randomness, on the CPU.
    """

    graph: PruneGraph
    tensors: Mapping[str, Tensor]
    calibration: "Calibration | None"
    generator: torch.Generator

    @classmethod
    def of(
        cls, graph: PruneGraph, model: nn.Module, calibration: "Calibration | None" = None, seed: int = 0
    ) -> "Context":
        """The context of a model."""
        tensors = {name: t.detach() for name, t in [*model.named_parameters(), *model.named_buffers()]}
        return cls(graph, tensors, calibration, torch.Generator().manual_seed(seed))


class Criterion(ABC):
    """Scores the units of every prunable group; the higher, the more important (it stays longer).

    Attributes:
        name: Name in the registry.
        needs: What it reads: any of "weights", "gradients", "data".
        source: Paper that defines it.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    source: ClassVar[str] = ""

    @abstractmethod
    def scores(self, context: Context) -> dict[str, Tensor]:
        """Scores of shape (size,) by name of every prunable group."""
