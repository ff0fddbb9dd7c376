"""Scores of weights that were never trained: SNIP and SynFlow."""

import copy
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from autoprune.criteria import Context, Criterion
from autoprune.data import as_batch
from autoprune.errors import ArgumentError, DataError
from autoprune.graph.export import evaluating
from autoprune.score import logits_of
from autoprune.score.batches import call


class _Saliency(Criterion):
    """A criterion of single weights alone."""

    runs: ClassVar[bool] = True
    elementwise: ClassVar[bool] = True

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Whole units are not scored.

        Raises:
            ArgumentError: Always.
        """
        raise ArgumentError(f"criterion must score whole units, but '{self.name}' scores single weights only")


class SNIP(_Saliency):
    """Sensitivity of the loss to removing a connection: `|w dL/dw|`, made to add up to 1 over all weights.

    Lee et al. 2019, arXiv:1810.02340, equation 6; L is the mean cross-entropy over all images. The network
    runs in eval mode.
    """

    name: ClassVar[str] = "snip"
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "gradients", "data"})
    source: ClassVar[str] = "Lee et al. 2019, arXiv:1810.02340"

    def elements(self, context: Context) -> dict[str, Tensor]:
        """See the class.

        Raises:
            DataError: No images, or images without labels.
        """
        weights = _weights(context, copy.deepcopy(context.model))
        model, names = weights
        total = [torch.zeros_like(p) for p in names.values()]
        images = 0
        with evaluating(model), torch.enable_grad():
            for raw in context.batches or ():
                batch = as_batch(raw)
                if batch.labels is None:
                    raise DataError("criterion 'snip' needs labels, got images without")
                loss = functional.cross_entropy(
                    logits_of(call(model, batch.inputs)), batch.labels, reduction="sum"
                )
                for sum_, g in zip(total, torch.autograd.grad(loss, list(names.values())), strict=True):
                    sum_ += g
                images += batch.size
        if images == 0:
            raise DataError("criterion 'snip' needs images, got none")
        raw_scores = {n: (p.detach() * g).abs() for (n, p), g in zip(names.items(), total, strict=True)}
        whole = torch.stack([s.sum() for s in raw_scores.values()]).sum().clamp_min(1e-300)
        return {name: score / whole for name, score in raw_scores.items()}


class SynFlow(_Saliency):
    """Synaptic flow: `w dR/dw` with R the summed outputs of the network of absolute weights on all ones.

    Tanaka et al. 2020, arXiv:2006.05467, section 5; no data are looked at but for the shape of an image. In
    float64 and eval mode, as products over many layers leave float32.
    """

    name: ClassVar[str] = "synflow"
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})
    source: ClassVar[str] = "Tanaka et al. 2020, arXiv:2006.05467"

    def elements(self, context: Context) -> dict[str, Tensor]:
        """See the class.

        Raises:
            DataError: No image to take a shape from.
        """
        model = copy.deepcopy(context.model).double()
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                if tensor.is_floating_point():
                    tensor.abs_()
        model, names = _weights(context, model)
        first = next((as_batch(raw) for raw in context.batches or ()), None)
        if first is None:
            raise DataError("criterion 'synflow' needs an image for its shape, got none")
        ones = first.first(1)
        if not isinstance(ones.inputs, Tensor):
            raise DataError("criterion 'synflow' needs a network with a single input tensor")
        with evaluating(model), torch.enable_grad():
            flow = logits_of(model(torch.ones_like(ones.inputs, dtype=torch.float64))).sum()
            gradients = torch.autograd.grad(flow, list(names.values()))
        return {name: (p.detach() * g).abs() for (name, p), g in zip(names.items(), gradients, strict=True)}


def _weights(
    context: Context, model: torch.nn.Module
) -> tuple[torch.nn.Module, dict[str, torch.nn.Parameter]]:
    """The model, and its weights of convolutions and linear layers by name, all of them with gradients."""
    names = {layer.weight: model.get_parameter(layer.weight) for layer in context.graph.layers}
    for parameter in names.values():
        parameter.requires_grad_(True)
    return model, names
