"""Regularizers that push whole channels, or single weights, towards zero while a network trains."""

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoprune.criteria import Context
from autoprune.criteria.filters import producers
from autoprune.errors import ModelError
from autoprune.graph import PruneGraph


class L1Penalty:
    """`strength * sum |w|` over the weights of all convolutions and linear layers (Tibshirani 1996)."""

    def __init__(self, graph: PruneGraph, model: nn.Module, strength: float) -> None:
        names = dict.fromkeys(layer.weight for layer in graph.layers)
        self._weights = [model.get_parameter(name) for name in names]
        self._strength = strength

    def __call__(self) -> Tensor:
        """The penalty, a scalar."""
        return self._strength * torch.stack([weight.abs().sum() for weight in self._weights]).sum()


class GroupLasso:
    """`strength * sum over units of sqrt(k) ||w_unit||_2` (Wen et al. 2016, arXiv:1608.03665).

    w_unit are the k weights that put a unit of a prunable group out, in all layers that do.
    """

    def __init__(self, graph: PruneGraph, model: nn.Module, strength: float) -> None:
        context = Context.of(graph, model)
        self._groups = [
            [
                (model.get_parameter(a.parameter), a.dim, torch.as_tensor(a.indices))
                for a in producers(g, context)
            ]
            for g in graph.prunable
        ]
        self._strength = strength

    def __call__(self) -> Tensor:
        """The penalty, a scalar."""
        total = []
        for parts in self._groups:
            rows = [w.movedim(dim, 0)[at.to(w.device)].flatten(1) for w, dim, at in parts]
            joined = torch.cat(rows, 1)
            # The square root has no slope at 0, where a unit that is gone stays gone.
            norms = joined.square().sum(1).clamp_min(torch.finfo(joined.dtype).tiny).sqrt()
            total.append(sqrt(joined.shape[1]) * norms.sum())
        return self._strength * torch.stack(total).sum()


class ScalePenalty:
    """`strength * sum |gamma|` over batch-norm scales of prunable groups (Liu et al. 2017, arXiv:1708.06519).

    Raises:
        ModelError: No prunable group runs through a batch normalization with a scale.
    """

    def __init__(self, graph: PruneGraph, model: nn.Module, strength: float) -> None:
        touched = {axis.parameter for group in graph.prunable for axis in group.axes}
        found = [
            module.weight
            for path, module in model.named_modules()
            if isinstance(module, _BatchNorm) and f"{path}.weight".lstrip(".") in touched
        ]
        if not found:
            raise ModelError(
                "the model must have batch normalizations in its prunable groups for the penalty 'bn_scale', "
                "got none; use 'group_lasso'"
            )
        self._scales, self._strength = found, strength

    def __call__(self) -> Tensor:
        """The penalty, a scalar."""
        return self._strength * torch.stack([scale.abs().sum() for scale in self._scales]).sum()


PENALTIES: dict[str, Callable[[PruneGraph, nn.Module, float], Callable[[], Tensor]]] = {
    "l1": L1Penalty,
    "group_lasso": GroupLasso,
    "bn_scale": ScalePenalty,
}
"""Penalties by name; each takes a graph, a model and a strength and is called for its value."""
