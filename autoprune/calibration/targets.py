"""What the dense network makes of some images, at a few positions of every layer: what a re-fit aims at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.calibration.chains import ADDITIONS, Chain, Tracked, find_chains
from autoprune.calibration.intercept import LayerCall, NormCall, Watch
from autoprune.calibration.patches import outputs_at, sample
from autoprune.data import Batch
from autoprune.graph import Layer
from autoprune.graph.export import evaluating
from autoprune.score.batches import call as forward

WIDEST = 8192
"""Layers with wider patches per convolution group are not re-fitted: the solve would take minutes."""

ROW_BYTES = 256 << 20
"""The sampled patches of one layer take about so much memory at most; the positions get fewer."""


@dataclass(frozen=True, eq=False)
class Targets:
    """What one layer should yield.

    Attributes:
        chain: What follows the layer.
        positions: Sampled positions, shape (rows of the batch dimension, positions).
        values: The dense values there at the end of the chain, before its ReLU: (rows, outputs).
    """

    chain: Chain
    positions: Tensor
    values: Tensor


def record_targets(
    dense: nn.Module, layers: Sequence[Layer], parts: Sequence[Batch], positions: int, seed: int
) -> dict[str, Targets]:
    """Run the dense network over the images and note what every layer's chain ends in.

    Args:
        dense: The dense network, in any mode; untouched.
        layers: Its layers; those that run more than once in a pass are left out.
        parts: The images.
        positions: Positions per image and layer.
        seed: Seed of their choice.

    Returns:
        By name of the layer's weight.
    """
    with evaluating(dense), torch.no_grad():
        chains = find_chains(dense, layers, lambda: forward(dense, parts[0].first(2).inputs))
        recorder = _Recorder(dense, [x for x in layers if x.weight in chains], chains, parts, positions, seed)
        for part in parts:
            recorder.images = part.size
            with recorder:
                forward(dense, part.inputs)
    return {
        name: Targets(chains[name], torch.cat(recorder.positions[name]), torch.cat(values))
        for name, values in recorder.values.items()
        if len(values) == len(parts)
    }


class _Recorder(Watch):
    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        chains: Mapping[str, Chain],
        parts: Sequence[Batch],
        positions: int,
        seed: int,
    ) -> None:
        super().__init__(model, layers)
        self.images = 0
        self.values: dict[str, list[Tensor]] = {}
        self.positions: dict[str, list[Tensor]] = {}
        self._chains, self._count = chains, positions
        self._total = sum(part.size for part in parts)
        self._generators: dict[str, torch.Generator] = {}
        self._seeds = {layer.weight: seed * 100_003 + i for i, layer in enumerate(layers)}
        self._open = Tracked()

    def on_layer(self, call: LayerCall) -> Tensor:
        output, name = call.run(), call.layer.weight
        if call.width // call.groups > WIDEST:
            return output
        room = ROW_BYTES // (call.width * 4 * self._total)
        generator = self._generators.setdefault(name, torch.Generator().manual_seed(self._seeds[name]))
        where = sample(call, output, self.images, max(1, min(self._count, room)), generator)
        self.positions.setdefault(name, []).append(where)
        self._follow(call, output, self._chains[name])
        return output

    def on_norm(self, call: NormCall) -> Tensor:
        layer: LayerCall | None = self._open.pop(call.named["input"])
        output = call.run()
        if layer is not None:
            self._follow(layer, output, self._chains[layer.layer.weight]._replace(norm=None))
        return output

    def on_other(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        found = [self._open.pop(arg) for arg in args[:2]] if function in ADDITIONS else []
        result = function(*args, **kwargs)
        for layer in filter(None, found):
            self._close(layer, result)
        return result

    def _follow(self, layer: LayerCall, output: Tensor, rest: Chain) -> None:
        if rest.norm is not None or rest.joins:
            self._open[output] = layer
        else:
            self._close(layer, output)

    def _close(self, layer: LayerCall, value: Tensor) -> None:
        name = layer.layer.weight
        self.values.setdefault(name, []).append(outputs_at(layer, value, self.positions[name][-1]))
