"""Knowledge distillation: the smaller network also learns from the outputs of the dense one."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.data import Inputs
from autoprune.errors import ArgumentError
from autoprune.graph.export import evaluating
from autoprune.score import logits_of
from autoprune.score.batches import call


@dataclass(frozen=True)
class Distillation:
    """How much, and how softly, a teacher is followed (Hinton et al. 2015, arXiv:1503.02531, section 2).

    The loss is `(1 - weight) * loss(labels) + weight * T^2 * KL(teacher at T || student at T)`, the
    divergence averaged over the batch.

    Attributes:
        temperature: T; what both logits are divided by.
        weight: Share of the teacher's part, in 0..1; at 1 no labels are needed.
        teacher: The network to follow, on the device of the student; untouched. A pipeline that gets None
            takes its dense network.

    Raises:
        ArgumentError: `temperature` not above 0, or `weight` outside 0..1.
    """

    temperature: float = 4.0
    weight: float = 0.9
    teacher: nn.Module | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ArgumentError(f"temperature must be above 0, got {self.temperature!r}")
        if not 0 <= self.weight <= 1:
            raise ArgumentError(f"weight must be a share in 0..1, got {self.weight!r}")

    def divergence(self, student: Tensor, inputs: Inputs) -> Tensor:
        """`T^2 KL(teacher || student)` of logits (N, classes), the mean over the batch.

        Raises:
            ArgumentError: There is no teacher.
        """
        if self.teacher is None:
            raise ArgumentError(
                "distill must have a teacher outside of a pipeline, got Distillation(teacher=None)"
            )
        with evaluating(self.teacher), torch.no_grad():
            teacher = logits_of(call(self.teacher, inputs))
        return soft_divergence(student, teacher, self.temperature)


def soft_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`T^2 KL(softmax(teacher / T) || softmax(student / T))` of logits (N, classes), averaged over N."""
    target = functional.log_softmax(teacher / temperature, 1)
    found = functional.log_softmax(student / temperature, 1)
    return temperature**2 * functional.kl_div(found, target, reduction="batchmean", log_target=True)
