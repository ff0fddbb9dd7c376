"""What can be gathered in the calibration pass besides moments."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from torch import Tensor, nn

from autoprune.calibration.intercept import LayerCall
from autoprune.data import Batch
from autoprune.graph import PruneGraph

Loss: TypeAlias = Callable[[Any, Tensor], Tensor]
"""From the model's outputs and the labels to a scalar: the mean over the images of the batch."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What is calibrated.

    Attributes:
        graph: The graph.
        model: The dense network without wrappers, in eval mode during the pass.
        loss: What gradients are taken of.
        seed: Seed of statistics that draw.
    """

    graph: PruneGraph
    model: nn.Module
    loss: Loss
    seed: int

    def parameters(self) -> dict[str, nn.Parameter]:
        """The floating-point parameters by their first name."""
        return {name: p for name, p in self.model.named_parameters() if p.is_floating_point()}


class Statistic(ABC):
    """One thing that `calibrate(..., statistics=...)` gathers, batch by batch, without keeping activations.

    `UnitStatistic` is the base for what is made of the activations of every group's units,
    `GradientStatistic` for what is made of the gradients of the parameters; both take the sums off a
    subclass. This one is the base of all: it sees every call of a layer and every batch.

    Attributes:
        name: Key in `Calibration.statistics`.
        gradients: Whether it needs gradients: every parameter then requires them during the pass.
        labels: Whether it reads labels.
    """

    name: ClassVar[str]
    gradients: ClassVar[bool] = False
    labels: ClassVar[bool] = False

    @abstractmethod
    def start(self, subject: Subject) -> None:
        """Forget everything and begin a pass."""

    def layer(self, call: LayerCall, output: Tensor) -> None:  # noqa: B027
        """See one call of a convolution or linear layer, transposed ones included, without gradients."""

    def batch(self, batch: Batch) -> None:  # noqa: B027
        """See one batch on the model's device, after its forward pass; gradients are not recorded."""

    @abstractmethod
    def result(self) -> dict[str, Tensor]:
        """What was gathered, float64 on the CPU: (size,) by group, or the parameter's shape by parameter."""
