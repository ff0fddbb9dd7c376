"""No criterion at all: the control."""

from typing import ClassVar

import torch
from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion


class Random(Criterion):
    """Uniform random scores; the same seed gives the same scores."""

    name: ClassVar[str] = "random"
    needs: ClassVar[frozenset[str]] = frozenset()
    source: ClassVar[str] = "Mittal et al. 2018, arXiv:1801.10447"
    elementwise: ClassVar[bool] = True

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Uniform in [0, 1) per unit."""
        return {g.name: torch.rand(g.size, generator=context.generator) for g in context.graph.prunable}

    def elements(self, context: Context) -> dict[str, Tensor]:
        """Uniform in [0, 1) per weight."""
        return {
            layer.weight: torch.rand(context.tensors[layer.weight].shape, generator=context.generator)
            for layer in context.graph.layers
        }
