"""Seeing every layer of a forward pass, whoever calls it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from autoprune.graph import Layer, PruneGraph
from autoprune.graph.export import unwrap

_ATEN = torch.ops.aten
_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_ATEN_NORM = (_NORM[0], *_NORM[3:5], *_NORM[1:3], *_NORM[5:], "cudnn_enabled")
_LAYERS: dict[Any, tuple[str, ...]] = {
    **dict.fromkeys((functional.conv1d, functional.conv2d, functional.conv3d), _CONV),
    **dict.fromkeys((_ATEN.conv1d.default, _ATEN.conv2d.default, _ATEN.conv3d.default), _CONV),
    **dict.fromkeys((_ATEN.conv1d.padding, _ATEN.conv2d.padding, _ATEN.conv3d.padding), _CONV),
    **dict.fromkeys((functional.linear, _ATEN.linear.default), _CONV[:3]),
}
_NORMS: dict[Any, tuple[str, ...]] = {functional.batch_norm: _NORM, _ATEN.batch_norm.default: _ATEN_NORM}


@dataclass(frozen=True, eq=False)
class LayerCall:
    """One call of a convolution or linear layer, with the arguments that it really got.

    Attributes:
        layer: What the graph knows of it.
        function: The function called.
        named: Its arguments by name.
    """

    layer: Layer
    function: Any
    named: Mapping[str, Any]

    @property
    def inputs(self) -> Tensor:
        """What the weight is multiplied with: (images, channels, *space), or (..., features)."""
        inputs: Tensor = self.named["input"]
        missing = self.weight.dim() - inputs.dim() if self.layer.kind == "conv" else 0
        return inputs[None] if missing else inputs

    @property
    def weight(self) -> Tensor:
        """The weight."""
        return self.named["weight"]  # type: ignore[no-any-return]

    @property
    def bias(self) -> Tensor | None:
        """The bias."""
        return self.named.get("bias")

    @property
    def groups(self) -> int:
        """Number of convolution groups."""
        return int(self.named.get("groups", 1))

    @property
    def width(self) -> int:
        """Elements of one input patch, over all convolution groups."""
        return self.weight[0].numel() * self.groups

    def spatial(self, name: str, default: int) -> tuple[int, ...]:
        """`stride`, `dilation` or a `padding` in numbers, per spatial dimension."""
        value = self.named.get(name, default)
        value = 0 if value == "valid" else value
        count = self.weight.dim() - 2
        values = tuple(int(v) for v in value) if isinstance(value, tuple | list) else (int(value),)
        return values * count if len(values) == 1 else values

    def padding(self) -> tuple[tuple[int, int], ...]:
        """Zeros before and behind, per spatial dimension."""
        if self.named.get("padding") != "same":
            return tuple((p, p) for p in self.spatial("padding", 0))
        kernel, dilation = self.weight.shape[2:], self.spatial("dilation", 1)
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((t // 2, t - t // 2) for t in totals)

    def run(self, **changes: Any) -> Tensor:
        """The output, with the weights as they are now, or with other arguments."""
        return self.function(**(dict(self.named) | changes))  # type: ignore[no-any-return]

    def blank(self) -> Tensor:
        """A tensor like the output, with no values in it yet, at no cost."""
        shapes = {k: v.to("meta") if isinstance(v, Tensor) else v for k, v in self.named.items()}
        return torch.empty_like(self.function(**shapes), device=self.named["input"].device)


class Norm(NamedTuple):
    """The tensors of a batch normalization, by name.

    Attributes:
        mean: Running mean.
        variance: Running variance.
        weight: Scale, or None.
        bias: Shift, or None.
        eps: Added to the variance.
    """

    mean: str
    variance: str
    weight: str | None
    bias: str | None
    eps: float

    def affine(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What it multiplies with and then adds, each of shape (channels,), float64."""
        scale = (tensors[self.variance].detach().double() + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * tensors[self.weight].detach().double()
        shift = -tensors[self.mean].detach().double() * scale
        return scale, shift if self.bias is None else shift + tensors[self.bias].detach().double()


@dataclass(frozen=True, eq=False)
class NormCall:
    """One call of a batch normalization with running statistics.

    Attributes:
        norm: Its tensors, all of them named in the model.
        function: The function called.
        named: Its arguments by name.
    """

    norm: Norm
    function: Any
    named: Mapping[str, Any]

    def at(self, value: Tensor) -> "NormCall":
        """The same call on another input."""
        return NormCall(self.norm, self.function, dict(self.named) | {"input": value})

    def run(self, **changes: Any) -> Tensor:
        """The output, with the statistics and weights as they are now, or with other arguments."""
        return self.function(**(dict(self.named) | changes))  # type: ignore[no-any-return]


class Watch(TorchFunctionMode):
    """Tells a subclass of every layer, batch normalization and other function that runs inside the context.

    The weight (the running mean) tells which layer it is, by identity, so that functional calls and shared
    modules are seen as well, and the ops of an exported graph. What runs inside a function, or inside these
    methods, is not seen.

    Args:
        model: The network that will run inside the context.
        layers: The layers to watch.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer]) -> None:
        super().__init__()
        model = unwrap(model)
        tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        self._layers = {id(tensors[x.weight]): x for x in layers if x.weight in tensors}
        self._names = {id(tensor): name for name, tensor in tensors.items()}

    def on_layer(self, call: LayerCall) -> Tensor:
        """Give the output of a watched layer."""
        return call.run()

    def on_norm(self, call: NormCall) -> Tensor:
        """Give the output of a batch normalization with running statistics."""
        return call.run()

    def on_other(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Give the result of any other function."""
        return function(*args, **kwargs)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Tell the calls apart."""
        kwargs = kwargs or {}
        if func in _LAYERS:
            named = dict(zip(_LAYERS[func], args, strict=False)) | dict(kwargs)
            layer = self._layers.get(id(named.get("weight")))
            if layer is not None:
                return self.on_layer(LayerCall(layer, func, named))
        elif func in _NORMS:
            named = dict(zip(_NORMS[func], args, strict=False)) | dict(kwargs)
            norm = self._norm(named)
            if norm is not None:
                return self.on_norm(NormCall(norm, func, named))
        return self.on_other(func, args, kwargs)

    def _norm(self, named: Mapping[str, Any]) -> Norm | None:
        tensors = [named.get(key) for key in ("running_mean", "running_var", "weight", "bias")]
        names = [None if tensor is None else self._names.get(id(tensor)) for tensor in tensors]
        mean, variance, weight, bias = names
        unnamed = any(t is not None and n is None for t, n in zip(tensors, names, strict=True))
        if unnamed or mean is None or variance is None:
            return None
        return Norm(mean, variance, weight, bias, float(named.get("eps", 1e-5)))


def consumers(graph: PruneGraph) -> tuple[Layer, ...]:
    """The layers whose inputs lose channels when a prunable group does, their weights' columns with them.

    A depthwise layer is none: its channels go together with its outputs.
    """
    touched = {axis.parameter for group in graph.prunable for axis in group.axes if axis.dim == 1}
    return tuple(x for x in graph.layers if x.kind != "conv_transposed" and x.weight in touched)


def check_weights(model: nn.Module, error: type[Exception]) -> None:
    """Refuse a network with weights that are not finite.

    Raises:
        error: Names the first such tensor.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise error(f"the model's weights must be finite, but '{name}' holds NaN or infinity")
