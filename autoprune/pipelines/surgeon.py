"""Optimal brain surgeon for single weights, layer by layer and output by output."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from autoprune.calibration.intercept import LayerCall, Watch
from autoprune.calibration.moments import Accumulator, Moment, ridge_of
from autoprune.calibration.patches import patches, sample
from autoprune.calibration.reconstruct import RIDGE
from autoprune.criteria import Context, Criterion
from autoprune.criteria.obs import obs_update
from autoprune.data import as_batch
from autoprune.errors import ArgumentError
from autoprune.graph import Layer, PruneGraph
from autoprune.graph.export import device_of, evaluating
from autoprune.score.batches import call

POSITIONS = 16
"""Output positions per image at which a layer's input is looked at."""

_CHUNK_BYTES = 128 << 20


class Surgeon(Criterion):
    """What removing a weight costs its layer if all others of the same output may make up for it.

    `w^2 / (2 [H^-1]_ww)`, H the second moment of the layer's input patches over the weights of that output
    that are not zero yet (Hassibi and Stork 1993, equation 5; Frantar and Alistarh 2022, arXiv:2208.11580).
    The criterion `obs` takes H over all weights, which is the same for a dense network and lets removed
    weights help in a sparse one; and it has moments of those layers alone that read prunable channels.
    Weights of transposed convolutions, and of layers that were not seen, score their square.

    Args:
        ridge: Added to the diagonal of H, relative to its mean.
    """

    name: ClassVar[str] = "surgeon"
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "data"})
    source: ClassVar[str] = "Hassibi and Stork 1993"
    runs: ClassVar[bool] = True
    elementwise: ClassVar[bool] = True

    def __init__(self, ridge: float = RIDGE) -> None:
        self.ridge = ridge

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Whole units are not scored.

        Raises:
            ArgumentError: Always; the criterion `obs` scores units.
        """
        raise ArgumentError(
            "criterion must score whole units, but 'surgeon' scores single weights; use 'obs'"
        )

    def elements(self, context: Context) -> dict[str, Tensor]:
        """Scores of each weight's own shape."""
        moments = layer_moments(context.model, context.graph, context.batches or ())
        result: dict[str, Tensor] = {}
        for layer in context.graph.layers:
            weight = context.tensors[layer.weight].detach()
            if layer.weight in moments:
                result[layer.weight] = by_rows(weight, moments[layer.weight], self._losses)
            else:
                result[layer.weight] = weight.double().square()
        return result

    def _losses(self, weight: Tensor, second: Tensor) -> Tensor:
        return row_losses(weight, second, weight != 0, self.ridge)


def layer_moments(
    model: nn.Module, graph: PruneGraph, batches: Iterable[Any], seed: int = 0
) -> dict[str, Moment]:
    """Second moments of the input patches of every convolution and linear layer, in one pass.

    Args:
        model: The network, run in eval mode; untouched.
        graph: Its graph.
        batches: Images.
        seed: Seed of the sampled positions.

    Returns:
        Moments by name of the weight; transposed convolutions are left out.
    """
    watch = _Moments(model, [x for x in graph.layers if x.kind != "conv_transposed"], seed)
    device = device_of(model)
    with evaluating(model), torch.no_grad():
        for raw in batches:
            batch = as_batch(raw).to(device)
            watch.images = batch.size
            with watch:
                call(model, batch.inputs)
    return {name: total.moment(name) for name, total in watch.sums.items()}


class _Moments(Watch):
    def __init__(self, model: nn.Module, layers: list[Layer], seed: int) -> None:
        super().__init__(model, layers)
        self.images = 0
        self.sums: dict[str, Accumulator] = {}
        self._generator = torch.Generator().manual_seed(seed)

    def on_layer(self, call: LayerCall) -> Tensor:
        output = call.run()
        where = sample(call, output, self.images, POSITIONS, self._generator)
        self.sums.setdefault(call.layer.weight, Accumulator()).add(patches(call, where))
        return output


@torch.no_grad()
def refit_within(
    model: nn.Module,
    graph: PruneGraph,
    before: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    moments: Mapping[str, Moment],
    ridge: float = RIDGE,
) -> None:
    """Give the weights that are left the values that reproduce each layer's outputs best, in place.

    That is what the surgeon's updates of one weight after the other add up to (`obs_update`). Where the layer
    has a bias, it takes up the constant, and the moment is centered.

    Args:
        model: The network, its masked weights zero already.
        graph: Its graph.
        before: Weights before the pruning, by name.
        masks: Which weights stay.
        moments: Of the layers' inputs before the pruning.
        ridge: As for `Surgeon`.
    """
    for layer in graph.layers:
        if layer.weight not in masks or layer.weight not in moments:
            continue
        moment, old = moments[layer.weight], before[layer.weight]
        second = moment.second if layer.bias is None else moment.centered
        new = obs_update(old, masks[layer.weight], second, ridge)
        model.get_parameter(layer.weight).copy_(new)
        if layer.bias is not None:
            change = (old.double() - new.double()).reshape(len(second), -1, second.shape[1])
            constant = (change @ moment.mean[:, :, None]).flatten()
            bias = model.get_parameter(layer.bias)
            bias.copy_((before[layer.bias].double() + constant).to(bias.dtype))


def by_rows(weight: Tensor, moment: Moment, score: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`score` of the rows (outputs, d) of every convolution group, joined to the weight's shape, float64."""
    parts = weight.flatten(1).double().chunk(len(moment.second))
    return torch.cat([score(w, m) for w, m in zip(parts, moment.second, strict=True)]).view(weight.shape)


def row_losses(weight: Tensor, second: Tensor, alive: Tensor, ridge: float) -> Tensor:
    """`w^2 / (2 [H^-1]_ww)`, zero at dead weights.

    Args:
        weight: Shape (outputs, d), float64.
        second: G, shape (d, d), float64.
        alive: Bool, shape (outputs, d): the weights that H of that output runs over.
        ridge: As for `Surgeon`.
    """
    result = torch.empty_like(weight)
    for at in _chunks(weight):
        inverse = torch.cholesky_inverse(_factor(second, alive[at], ridge))
        result[at] = weight[at].square() / (2 * inverse.diagonal(dim1=-2, dim2=-1))
    return result * alive


def _factor(second: Tensor, alive: Tensor, ridge: float) -> Tensor:
    """Cholesky factors (outputs, d, d) of H restricted to what is alive, the identity elsewhere.

    Where all outputs have the same weights alive there is one factor for all, shape (1, d, d).
    """
    if bool((alive == alive[:1]).all()):
        alive = alive[:1]
    whole = second + ridge_of(second[None], ridge) * torch.eye(
        len(second), dtype=second.dtype, device=second.device
    )
    both = alive[:, :, None] & alive[:, None, :]
    own = torch.diag_embed((~alive).to(whole.dtype))
    factor: Tensor = torch.linalg.cholesky(torch.where(both, whole, 0.0) + own)
    return factor


def _chunks(weight: Tensor) -> Iterable[slice]:
    """Parts of the outputs whose matrices fit the memory."""
    step = max(1, _CHUNK_BYTES // (8 * weight.shape[1] ** 2))
    return (slice(start, start + step) for start in range(0, len(weight), step))
