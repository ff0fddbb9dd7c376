"""Optimal brain surgeon, a block of columns at a time."""

import logging
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.calibration.leastsquares import factorize
from autoprune.calibration.moments import ridge_of
from autoprune.calibration.reconstruct import RIDGE, by_group, columns_of, moment_of
from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.l2 import L2
from autoprune.errors import ArgumentError
from autoprune.graph import Axis, Group, Layer

logger = logging.getLogger(__name__)


class OBS(Criterion):
    """Order in which optimal brain surgeon removes the units (Hassibi and Stork 1993), layer-wise.

    The units' columns u of every consumer are eliminated one unit at a time, always the one that raises the
    consumers' relative output error least: `tr(W_u^T ([H^-1]_uu)^-1 W_u)` with H the input moment plus a
    ridge; W and H^-1 are updated after each removal, so that the others make up for what is gone. The score
    of a unit is the number of units removed before it.

    Groups without a consumer whose moments were gathered are ordered by the L2 norm instead (logged).

    Single weights are scored by `w^2 / [H^-1]_ii`: how much the mean squared error of the layer's output
    grows when that weight alone goes and the others of its output make up for it. Layers without moments
    count with the unit matrix (logged). `obs_update` gives the weights that make up for any mask.
    """

    name: ClassVar[str] = "obs"
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "data"})
    source: ClassVar[str] = "Hassibi and Stork 1993; Frantar and Alistarh 2022, arXiv:2208.11580"
    elementwise: ClassVar[bool] = True

    def __init__(self, ridge: float = RIDGE) -> None:
        self.ridge = ridge

    def scores(self, context: Context) -> dict[str, Tensor]:
        """How many units are removed before each."""
        result: dict[str, Tensor] = {}
        norms: dict[str, Tensor] | None = None
        for group in context.graph.prunable:
            surgeons = self._surgeons(group, context)
            if surgeons:
                result[group.name] = _eliminate(group.size, surgeons)
                continue
            logger.warning("group '%s' has no consumer with moments: ordered by its L2 norm", group.name)
            norms = norms or L2().scores(context)
            result[group.name] = norms[group.name]
        return result

    def elements(self, context: Context) -> dict[str, Tensor]:
        """Error that each weight's removal costs, of the weight's shape, float64."""
        assert context.calibration is not None
        result = {}
        for layer in context.graph.layers:
            result[layer.weight] = context.tensors[layer.weight].double().square().cpu()
            if layer.weight not in context.calibration.moments:
                logger.warning("layer '%s' has no moments: its weights count alike", layer.weight)
                continue
            factor = factorize(moment_of(layer, context.calibration), self.ridge)
            diagonal = torch.cholesky_inverse(factor).diagonal(dim1=1, dim2=2).cpu()
            rows = result[layer.weight].view(len(diagonal), -1, diagonal.shape[1])
            result[layer.weight] = (rows / diagonal[:, None]).view_as(result[layer.weight])
        return result

    def _surgeons(self, group: Group, context: Context) -> list["_Surgeon"]:
        assert context.calibration is not None
        layers = {layer.weight: layer for layer in context.graph.layers}
        return [
            _surgeon(layers[axis.parameter], axis, context, self.ridge)
            for axis in group.axes
            if axis.dim == 1 and axis.parameter in context.calibration.moments
        ]


def obs_update(weight: Tensor, mask: Tensor, moment: Tensor, ridge: float = RIDGE) -> Tensor:
    """Weights under a mask that come closest to the dense layer's output, exactly, output by output.

    For an output with dense weights w and the kept columns S it is `([H]_SS)^-1 [H]_S,: w`, with H the
    moment plus a ridge: the least of `(v - w)^T H (v - w)` over all v that are 0 outside S. Where the moment
    is centered, the constant behind the layer has to take up `mean @ (w - v)`.

    Args:
        weight: Dense weight of a convolution or linear layer, (outputs, inputs / groups, *kernel).
        mask: Bool, of the same shape; True stays.
        moment: Shape (groups, d, d), float64, as from `autoprune.calibration.reconstruct.moment_of`.
        ridge: Relative to the mean of the moment's diagonal.

    Returns:
        Of the weight's shape and type, exactly 0 where the mask is False.

    Raises:
        ArgumentError: Shapes that do not fit each other.
    """
    _check_update(weight, mask, moment)
    old = weight.detach().double().reshape(len(moment), -1, moment.shape[1])
    stays = mask.to(weight.device).reshape(old.shape)
    new = torch.zeros_like(old)
    for group, one in enumerate(moment.to(weight.device)):
        regular = one.double().clone()
        regular.diagonal().add_(ridge_of(regular[None], ridge))
        cross = old[group] @ regular
        patterns, which = torch.unique(stays[group], dim=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            columns, rows = pattern.nonzero().flatten(), (which == number).nonzero().flatten()
            if not len(columns):
                continue
            factor = factorize(regular[columns][:, columns][None], 0.0)[0]
            solved = torch.cholesky_solve(cross[rows][:, columns].mT, factor).mT
            new[group, rows[:, None], columns] = solved
    return new.reshape(weight.shape).to(weight.dtype)


def _check_update(weight: Tensor, mask: Tensor, moment: Tensor) -> None:
    if mask.shape != weight.shape or mask.dtype != torch.bool:
        raise ArgumentError(
            f"mask must be bool of the weight's shape {tuple(weight.shape)}, "
            f"got {mask.dtype} of {tuple(mask.shape)}"
        )
    width = weight[0].numel()
    if moment.dim() != 3 or moment.shape[1:] != (width, width) or len(weight) % len(moment):
        raise ArgumentError(
            f"moment must have shape (groups, {width}, {width}) with groups that divide {len(weight)}, "
            f"got {tuple(moment.shape)}"
        )


class _Surgeon:
    """One consumer while the units of one group are taken out of it.

    Only the group's own columns are kept, unit by unit: the others stay in the network, and whatever the
    losses need of them lies in the inverse already.

    Args:
        weight: Shape (groups, n * k, outputs) for n units of k columns each.
        inverse: The same rows and columns of the inverse moment, shape (groups, n * k, n * k).
        size: n.
        total: What losses are divided by.
    """

    def __init__(self, weight: Tensor, inverse: Tensor, size: int, total: Tensor) -> None:
        if weight.shape[2] > weight.shape[1]:
            # Losses depend on W through W W^T alone, which a narrower factor gives as well.
            weight = torch.linalg.qr(weight.mT, mode="r").R.mT
        self._weight, self._inverse, self._total = weight.contiguous(), inverse.contiguous(), total
        self._size = size
        self._width = weight.shape[1] // size

    def losses(self) -> Tensor:
        """What taking out each unit costs, relative to the consumer's output, shape (units left,)."""
        weights = self._weight.view(len(self._weight), self._size, self._width, -1)
        blocks = self._blocks()
        if self._width == 1:
            result: Tensor = (weights.square().sum((2, 3)) / blocks[..., 0, 0]).sum(0) / self._total
            return result
        factor = torch.linalg.cholesky_ex(blocks).L
        whitened: Tensor = torch.linalg.solve_triangular(factor, weights, upper=False)
        return whitened.square().sum((0, 2, 3)) / self._total

    def _blocks(self) -> Tensor:
        shape = (len(self._inverse), self._size, self._width, self._size, self._width)
        return self._inverse.view(shape).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)

    def remove(self, at: int) -> None:
        """Take out the unit at a position; the others make up for it."""
        gone = slice(at * self._width, (at + 1) * self._width)
        reach = self._inverse[:, :, gone]
        factor = torch.linalg.cholesky_ex(self._inverse[:, gone, gone]).L
        step = torch.linalg.solve_triangular(factor, reach.mT, upper=False)
        pull = torch.linalg.solve_triangular(factor, self._weight[:, gone], upper=False)
        self._weight.baddbmm_(step.mT, pull, alpha=-1)
        self._inverse.baddbmm_(step.mT, step, alpha=-1)

    def compact(self, left: Tensor) -> None:
        """Forget all units but those at the positions `left`."""
        columns = (left[:, None] * self._width + torch.arange(self._width, device=left.device)).flatten()
        self._weight = self._weight[:, columns].contiguous()
        self._inverse = self._inverse[:, columns][:, :, columns].contiguous()
        self._size = len(left)


def _surgeon(layer: Layer, axis: Axis, context: Context, ridge: float) -> _Surgeon:
    assert context.calibration is not None
    moment = moment_of(layer, context.calibration)
    weight = by_group(context.tensors[layer.weight], len(moment))
    factor = factorize(moment, ridge)
    total = (factor.mT @ weight).square().sum().clamp_min(1e-300)
    columns = torch.as_tensor(columns_of(axis.indices.ravel(), prod(layer.kernel_size)), device=moment.device)
    inverse = torch.cholesky_inverse(factor)[:, columns][:, :, columns]
    return _Surgeon(weight[:, columns].clone(), inverse, len(axis.indices), total)


def _eliminate(size: int, surgeons: list[_Surgeon]) -> Tensor:
    """How many units go before each, always the one whose loss over all consumers is least."""
    units = torch.arange(size)
    alive = torch.ones(size, dtype=torch.bool)
    scores = torch.zeros(size, dtype=torch.float64)
    for removed in range(size):
        losses = torch.stack([surgeon.losses() for surgeon in surgeons]).sum(0).cpu()
        at = int(torch.where(alive, losses.nan_to_num(nan=0.0, posinf=1e300), torch.inf).argmin())
        scores[units[at]] = removed
        alive[at] = False
        for surgeon in surgeons:
            surgeon.remove(at)
        if int(alive.sum()) <= 0.8 * len(alive):
            left = alive.nonzero().flatten()
            for surgeon in surgeons:
                surgeon.compact(left)
            units, alive = units[left], alive[left]
    return scores
