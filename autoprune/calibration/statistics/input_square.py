"""Mean squares of what every weight is multiplied with."""

from typing import ClassVar

import torch
from torch import Tensor

from autoprune.calibration.intercept import LayerCall
from autoprune.calibration.patches import patches
from autoprune.calibration.statistics.statistic import Statistic, Subject
from autoprune.graph import Layer


class InputSquare(Statistic):
    """E[x^2] of the input x of every weight, over all images and all output positions, by name of the weight.

    Exact, for every layer, at the price of a sum over the batch: the squares of a batch are added up before
    they are cut into patches. Padding counts as 0. For transposed convolutions it is the mean over the
    input's positions.

    The tensors have a shape that broadcasts to the weight's: (1, inputs, *kernel), or (outputs,
    inputs / groups, *kernel) for several convolution groups, or (inputs, 1, ...) if transposed.
    """

    name: ClassVar[str] = "input_square"

    def start(self, subject: Subject) -> None:
        """See `Statistic.start`."""
        self._sums: dict[str, Tensor] = {}
        self._rows: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def layer(self, call: LayerCall, output: Tensor) -> None:
        """Add the squares of one call, shape (groups, d)."""
        name = call.layer.weight
        sums, rows = _squares(call, output)
        self._sums[name] = self._sums[name] + sums if name in self._sums else sums
        self._rows[name] = self._rows.get(name, 0) + rows
        self._shapes[name] = _shape(call.layer, call.weight.shape, len(sums))

    def result(self) -> dict[str, Tensor]:
        """The means."""
        result = {}
        for name, sums in self._sums.items():
            mean, shape = sums / self._rows[name], self._shapes[name]
            if len(mean) > 1:
                mean = mean.repeat_interleave(shape[0] // len(mean), 0)
            result[name] = mean.reshape(shape).cpu()
        return result


def _squares(call: LayerCall, output: Tensor) -> tuple[Tensor, int]:
    """Sums of squares of shape (groups, d), and of how many positions."""
    if call.layer.kind == "linear":
        flat = call.inputs.reshape(-1, call.inputs.shape[-1])
        return flat.square().sum(0).double()[None], len(flat)
    spatial = call.weight.dim() - 2
    inputs = call.named["input"]
    inputs = inputs if inputs.dim() == spatial + 2 else inputs[None]
    squares = inputs.square().sum(0)
    if call.layer.kind == "conv_transposed":
        flat = squares.flatten(1)
        return flat.sum(1).double()[None], len(inputs) * flat.shape[1]
    positions = output.shape[-spatial:].numel()
    added = LayerCall(call.layer, call.function, {**call.named, "input": squares[None]})
    rows = patches(added, torch.arange(positions, device=inputs.device)[None])
    return rows.sum(1).double(), len(inputs) * positions


def _shape(layer: Layer, weight: torch.Size, groups: int) -> tuple[int, ...]:
    if layer.kind == "conv_transposed":
        return (weight[0], *[1] * (len(weight) - 1))
    return (1 if groups == 1 else weight[0], *weight[1:])
