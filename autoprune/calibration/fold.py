"""Batch norms that run as a part of the layer in front of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.calibration.chains import Tracked
from autoprune.calibration.intercept import LayerCall, Norm, NormCall, Watch
from autoprune.errors import ModelError
from autoprune.graph import Layer


class Folding(Watch):
    """Inside this context a network runs with batch norms folded into the layers in front of them.

    The network itself is left as it is, and computes the same but for rounding: the layer's weights are
    multiplied with the batch norm's scale and its bias takes the shift, in float64, so that the values in
    between are never made. Statistics and weights must not change any more once a layer has run.

    Args:
        model: The network that will run inside the context, in eval mode.
        layers: Its layers.
        norms: By the name of a layer's weight, the batch norm that alone reads what the layer yields.
        made: Folded weights and biases by name, of an earlier pass over the same weights.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        norms: Mapping[str, Norm],
        made: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        super().__init__(model, layers)
        self.made = dict(made or {})
        self._norms = norms
        self._tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        self._folded = Tracked()
        self._open = 0

    def on_layer(self, call: LayerCall) -> Tensor:
        """Run the layer and its batch norm in one."""
        name = call.layer.weight
        norm = self._norms.get(name)
        if norm is None:
            return call.run()
        if name not in self.made:
            self.made[name] = self._fold(call, norm)
        weight, bias = self.made[name]
        output = call.run(weight=weight, bias=bias)
        self._folded[output] = True
        self._open += 1
        return output

    def on_norm(self, call: NormCall) -> Tensor:
        """Nothing is left to do for a batch norm that ran with its layer."""
        output: Tensor = call.named["input"]
        if not self._folded.pop(output):
            return call.run()
        self._open -= 1
        return output

    def __exit__(self, kind: Any, value: Any, at: Any) -> None:
        super().__exit__(kind, value, at)  # type: ignore[no-untyped-call]
        if kind is None and (missing := self._missing()):
            raise ModelError(
                f"the pruned network must run the same operations as the dense one, but {missing} any more; "
                "check its forward for conditions on widths"
            )

    def _missing(self) -> str:
        """What did not come in this pass, in words."""
        return "some layers are not followed by their batch norm" if self._open else ""

    def _fold(self, call: LayerCall, norm: Norm) -> tuple[Tensor, Tensor]:
        scale, shift = norm.affine(self._tensors)
        with torch.no_grad():
            weight = call.weight.double() * scale.view(-1, *[1] * (call.weight.dim() - 1))
            bias = shift if call.bias is None else shift + scale * call.bias.double()
        return weight.to(call.weight.dtype), bias.to(call.weight.dtype)
