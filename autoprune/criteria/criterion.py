"""What a criterion is."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from autoprune.errors import ArgumentError
from autoprune.graph import PruneGraph

if TYPE_CHECKING:
    from autoprune.calibration import Calibration


@dataclass(frozen=True, eq=False)
class Context:
    """All that a criterion may look at.

    Attributes:
        graph: The graph.
        tensors: Parameters and buffers of the dense network by name.
        calibration: Moments and statistics, or None.
        generator: Source of randomness, on the CPU.
        model: The dense network, for criteria that run it; not to be changed.
        batches: Images that may be read again and again, for criteria that run the network; or None.
    """

    graph: PruneGraph
    tensors: Mapping[str, Tensor]
    calibration: "Calibration | None"
    generator: torch.Generator
    model: nn.Module
    batches: Iterable[Any] | None = None

    @classmethod
    def of(
        cls,
        graph: PruneGraph,
        model: nn.Module,
        calibration: "Calibration | None" = None,
        seed: int = 0,
        batches: Iterable[Any] | None = None,
    ) -> "Context":
        """The context of a model."""
        tensors = {name: t.detach() for name, t in [*model.named_parameters(), *model.named_buffers()]}
        return cls(graph, tensors, calibration, torch.Generator().manual_seed(seed), model, batches)


class Criterion(ABC):
    """Scores the units of every prunable group; the higher, the more important (it stays longer).

    Attributes:
        name: Name in the registry.
        needs: What it reads: any of "weights", "gradients", "data".
        source: Paper that defines it.
        statistics: What `calibrate(..., statistics=...)` must have gathered for it, by name.
        runs: Whether it runs the network on `Context.batches` by itself.
        elementwise: Whether it scores single weights too.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    source: ClassVar[str] = ""
    statistics: frozenset[str] = frozenset()
    runs: ClassVar[bool] = False
    elementwise: ClassVar[bool] = False

    @abstractmethod
    def scores(self, context: Context) -> dict[str, Tensor]:
        """Scores of shape (size,) by name of every prunable group."""

    def elements(self, context: Context) -> dict[str, Tensor]:
        """Scores of single weights, of each weight's own shape, by weight name of every layer of the graph.

        `autoprune.masks` pools them to any granularity.

        Raises:
            ArgumentError: The criterion scores whole units only.
        """
        raise ArgumentError(f"criterion must score single weights, but '{self.name}' scores whole units only")
