"""Batch norms that run as a part of the layer in front of them, and ReLUs in its memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.calibration.chains import ADDITIONS, RELUS, Chain, Tracked
from autoprune.calibration.intercept import LayerCall, Norm, NormCall, Watch
from autoprune.errors import ModelError
from autoprune.graph import Layer


class Folding(Watch):
    """Inside this context a network runs with batch norms folded into the layers in front of them.

    The network itself is left as it is, and computes the same but for rounding: the layer's weights are
    multiplied with the batch norm's scale and its bias takes the shift, in float64, so that the values in
    between are never made. A ReLU that alone reads what it cuts writes where that was. Statistics and weights
    must not change any more once a layer has run.

    Args:
        model: The network that will run inside the context, in eval mode.
        layers: Its layers.
        chains: By the name of a layer's weight, what follows the layer.
        made: Folded weights and biases by name, of an earlier pass over the same weights.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        chains: Mapping[str, Chain],
        made: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        super().__init__(model, layers)
        self.made = dict(made or {})
        self._chains = chains
        self._tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        self._folded, self._cut = Tracked(), Tracked()
        self._open = 0

    def on_layer(self, call: LayerCall) -> Tensor:
        """Run the layer and its batch norm in one."""
        name = call.layer.weight
        chain = self._chains.get(name, Chain())
        if chain.norm is None:
            output = call.run()
        else:
            if name not in self.made:
                self.made[name] = self._fold(call, chain.norm)
            weight, bias = self.made[name]
            output = call.run(weight=weight, bias=bias)
            self._folded[output] = True
            self._open += 1
        if chain.relu:
            self._cut[output] = chain.joins
        return output

    def on_norm(self, call: NormCall) -> Tensor:
        """Nothing is left to do for a batch norm that ran with its layer."""
        output: Tensor = call.named["input"]
        if not self._folded.pop(output):
            return call.run()
        self._open -= 1
        return output

    def on_other(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Cut in place what a ReLU alone reads; of a sum, that is noted with one of the two values."""
        if function in RELUS:
            value: Tensor = args[0] if args else kwargs["input"]
            return torch.relu_(value) if self._cut.pop(value) is False else function(*args, **kwargs)
        joined = function in ADDITIONS and any(self._cut.pop(arg) for arg in args[:2])
        result = function(*args, **kwargs)
        if joined:
            self._cut[result] = False
        return result

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
