"""A candidate the way AMC evaluates it: the full-size network with masked channels, on the whole search set.

After He et al., ECCV 2018 (arXiv:1802.03494) and its published settings: inputs of every layer and its dense
outputs are sampled once, ten positions per image; per candidate the weights that stay of every layer are
solved by least squares from these samples, the others are zero, and all images run through the network at
its full size.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.graph import PruneGraph
from autoprune.graph.types import Indices

POSITIONS = 10
"""Positions per image, as in AMC's published settings."""


class AMCWay:
    """Evaluates candidates at full size.

    Args:
        graph: Of the network.
        model: The dense network; its weights are changed during a call and put back.
        samples: Images for the least squares, shape (n, channels, height, width).
        search: Batches (images, labels) of the whole search set.
        seed: Of the positions.
    """

    def __init__(
        self,
        graph: PruneGraph,
        model: nn.Module,
        samples: Tensor,
        search: Iterable[tuple[Tensor, Tensor]],
        seed: int = 0,
    ) -> None:
        self._graph, self._model = graph, model.eval()
        self._search = [(images, labels) for images, labels in search]
        self._layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
        self._samples = _sampled(model, self._layers, samples, torch.Generator().manual_seed(seed))

    def __call__(self, keep: Mapping[str, Indices]) -> float:
        """Accuracy of the candidate that keeps these units of every prunable group."""
        masks = self._masks(keep)
        kept = {name: layer.weight.detach().clone() for name, layer in self._layers.items()}
        try:
            with torch.inference_mode():
                for name, mask in masks.items():
                    weight = self._layers[name].weight
                    weight.copy_(_solved(weight, mask, *self._samples[name]))
                hits = sum(
                    int((self._model(images).argmax(1) == labels).sum()) for images, labels in self._search
                )
        finally:
            with torch.no_grad():
                for name, weight in kept.items():
                    self._layers[name].weight.copy_(weight)
        return hits / sum(len(labels) for _, labels in self._search)

    def _masks(self, keep: Mapping[str, Indices]) -> dict[str, Tensor]:
        """Which inputs stay, of every layer that loses some."""
        found: dict[str, Tensor] = {}
        for group in self._graph.prunable:
            for axis in group.axes:
                name = axis.parameter.removesuffix(".weight")
                if axis.dim != 1 or name not in self._layers or len(keep[group.name]) == group.size:
                    continue
                mask = found.setdefault(name, torch.ones(self._layers[name].in_channels, dtype=torch.bool))
                mask[axis.indices.ravel()] = False
                mask[axis.indices[keep[group.name]].ravel()] = True
        return found


def _sampled(
    model: nn.Module, layers: Mapping[str, nn.Conv2d], images: Tensor, generator: torch.Generator
) -> dict[str, tuple[Tensor, Tensor]]:
    """Patches (rows, inputs, positions of the kernel) and dense outputs (rows, outputs) of every layer."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def note(name: str, layer: nn.Conv2d) -> Any:
        def hook(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            count, positions = len(output), output.shape[2] * output.shape[3]
            size, padding, stride = layer.kernel_size, layer.padding, layer.stride
            patches = functional.unfold(given[0], size, padding=padding, stride=stride)  # type: ignore[arg-type]
            at = torch.randint(positions, (POSITIONS,), generator=generator)
            rows = patches[:, :, at].transpose(1, 2).reshape(count * POSITIONS, layer.in_channels, -1)
            found[name] = rows, output.flatten(2)[:, :, at].transpose(1, 2).reshape(count * POSITIONS, -1)

        return hook

    handles = [layer.register_forward_hook(note(name, layer)) for name, layer in layers.items()]
    try:
        with torch.inference_mode():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _solved(weight: Tensor, mask: Tensor, rows: Tensor, outputs: Tensor) -> Tensor:
    """Least squares over the inputs that stay; zero elsewhere."""
    inputs = rows[:, mask].flatten(1)
    found = torch.linalg.lstsq(inputs, outputs).solution.T
    result = torch.zeros_like(weight)
    result[:, mask] = found.reshape(len(weight), -1, *weight.shape[2:])
    return result
