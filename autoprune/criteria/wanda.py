"""Weight times input norm."""

from typing import ClassVar

import torch
from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.gathered import gathered, norms_without
from autoprune.graph import Axis


class Wanda(Criterion):
    """|w| times the norm of the input that it is multiplied with (Sun et al. 2023, section 3).

    The norm is the root mean square over all images and output positions, patch element by patch element;
    it differs from the paper's L2 norm by a factor per layer. The paper compares the weights of one output
    with each other, hence `per_output`.

    Args:
        per_output: Whether single weights are scored by the share of the weights of the same output (the
            same index of dimension 0) that are below them, in 0..1. Pruning a share of all weights of a
            tensor then takes that share of every output's. Off, the score is the product itself.
    """

    name: ClassVar[str] = "wanda"
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "data"})
    source: ClassVar[str] = "Sun et al. 2023, arXiv:2306.11695"
    statistics: frozenset[str] = frozenset({"input_square"})
    elementwise: ClassVar[bool] = True

    def __init__(self, per_output: bool = True) -> None:
        self.per_output = per_output

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Sum of the products over the columns of the layers that read the unit.

        Groups that no layer reads, or whose readers were not seen, get their L2 norm (logged).
        """
        products = self._products(context)
        kinds = {layer.weight: layer.kind for layer in context.graph.layers}
        result: dict[str, Tensor] = {}
        for group in context.graph.prunable:
            reads = [
                axis
                for axis in group.axes
                if axis.parameter in products and axis.dim == int(kinds[axis.parameter] != "conv_transposed")
            ]
            if reads:
                result[group.name] = torch.stack([_columns(products[a.parameter], a) for a in reads]).sum(0)
        return {**norms_without(context, self.name, result), **result}

    def elements(self, context: Context) -> dict[str, Tensor]:
        """See `per_output`. A weight whose layer was not seen running counts with a norm of 1."""
        products = self._products(context)
        result = {}
        for layer in context.graph.layers:
            absolute = context.tensors[layer.weight].double().cpu().abs()
            product = products.get(layer.weight, absolute)
            result[layer.weight] = _ranks(product) if self.per_output else product
        return result

    def _products(self, context: Context) -> dict[str, Tensor]:
        found = gathered(context, self.name, "input_square")
        return {name: context.tensors[name].double().cpu().abs() * t.sqrt() for name, t in found.items()}


def _columns(products: Tensor, axis: Axis) -> Tensor:
    sums = products.movedim(axis.dim, 0).flatten(1).sum(1)
    return sums[torch.from_numpy(axis.indices)].sum(1)


def _ranks(products: Tensor) -> Tensor:
    """Share of the weights of the same row that are lower; of equals the first is the higher."""
    rows = products.flatten(1)
    order = rows.argsort(dim=1, descending=True, stable=True)
    below = torch.arange(rows.shape[1] - 1, -1, -1, dtype=torch.float64).expand_as(rows)
    return torch.empty_like(rows).scatter_(1, order, below / rows.shape[1]).view_as(products)
