"""MACs of a model, counted while it runs and booked on the parameters that they multiply."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from autoprune.graph.export import evaluating, split_inputs
from autoprune.graph.flops import unfused_attention

Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]

_ADDED_FIRST = ("addmm", "baddbmm")


def count_macs(model: nn.Module, example_inputs: Inputs) -> dict[str, int]:
    """Multiply-accumulates of one forward pass in eval mode, by the name of the parameter they multiply.

    The operations and their costs are those of `torch.utils.flop_counter` (convolutions and matrix products,
    those within attention too), halved. Products of two activations stand under the empty name. A weight
    counts as a whole: zeros in it cost what other numbers cost.

    Args:
        model: Runs once, without gradients; its modes and weights are left as they are.
        example_inputs: A tensor, a tuple of arguments, or a mapping of keyword arguments. Costs are for these
            inputs, their batch included.
    """
    args, kwargs = split_inputs(example_inputs)
    counter = _Counter(_Owners(model))
    with evaluating(model), unfused_attention(), torch.no_grad(), counter:
        model(*args, **kwargs)
    return counter.macs


class _Span(NamedTuple):
    start: int
    end: int
    name: str


class _Owners:
    """Finds the parameter that a tensor is, or is a view into, by its address."""

    def __init__(self, model: nn.Module) -> None:
        self._spans = sorted(_span(name, p) for name, p in model.named_parameters() if p.numel())
        self._starts = [span.start for span in self._spans]
        self._computed = list(_reparametrized(model))

    def __call__(self, tensor: Tensor) -> str:
        """The parameter's name, or nothing."""
        address = tensor.data_ptr()
        place = bisect_right(self._starts, address) - 1
        if place >= 0 and address and address < self._spans[place].end:
            return self._spans[place].name
        # `torch.nn.utils.prune` computes the weight anew before each call of its module.
        return next((name for name, read in self._computed if _inside(address, name, read())), "")


def _span(name: str, tensor: Tensor) -> _Span:
    start = tensor.data_ptr()
    return _Span(start, start + tensor.numel() * tensor.element_size(), name)


def _inside(address: int, name: str, tensor: Tensor) -> bool:
    span = _span(name, tensor)
    return span.start <= address < span.end


def _reparametrized(model: nn.Module) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """(name of the original parameter, reader of the tensor in use) of what `torch.nn.utils.prune` holds."""
    for path, module in model.named_modules():
        for original in module._parameters:
            used = original.removesuffix("_orig")
            if used != original and f"{used}_mask" in module._buffers:
                yield f"{path}.{original}" if path else original, _reader(module, used)


def _reader(module: nn.Module, attribute: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        value: Tensor = getattr(module, attribute)
        return value

    return read


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Books the cost of every operation in PyTorch's registry of formulas."""

    def __init__(self, owners: _Owners) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs: dict[str, int] = {}
        self._owners = owners

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in flop_registry and func is not torch.ops.prim.device.default:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        out = func(*args, **kwargs)
        if packet in flop_registry:
            flops = flop_registry[packet](*args, **kwargs, out_val=out)
            owner = self._owner(_factors(packet.__name__, args))
            self.macs[owner] = self.macs.get(owner, 0) + flops // 2
        return out

    def _owner(self, factors: Sequence[Any]) -> str:
        return next((name for f in factors if isinstance(f, Tensor) and (name := self._owners(f))), "")


def _factors(operation: str, args: Sequence[Any]) -> Sequence[Any]:
    """The operands that are multiplied: the first two, behind the summand where there is one."""
    return args[1:3] if operation in _ADDED_FIRST else args[:2]
