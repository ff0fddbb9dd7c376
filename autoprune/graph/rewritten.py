"""A network that runs an exported graph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from autoprune.graph.interface import Interface


class RewrittenModule(nn.Module):
    """A pruned network that runs the exported graph; parameters and buffers keep their names.

    It computes what the model computes in eval mode. In train mode dropout drops and batch normalization uses
    and updates batch statistics, as in the model, but Python code of the model that asks for the mode
    (stochastic depth, auxiliary heads) stays as it is in eval mode. Types that the model's forward names (a
    cast to float32) are baked in. Inputs must have the shapes that were traced; the batch may have another
    size where the graph was exported with two (`Interface.any_batch`).

    Args:
        graph: Its placeholders are the batch size, the mode, then state and inputs in the order of export.
        order: What the placeholders of the state take: the name of a parameter or buffer, or a constant.
        tensors: Parameters and buffers by name, shared ones under every name.
        interface: How it is called.
    """

    def __init__(
        self,
        graph: fx.GraphModule,
        order: Sequence[str | Tensor],
        tensors: Mapping[str, Tensor],
        interface: Interface,
    ) -> None:
        super().__init__()
        self._order = tuple(name if isinstance(name, str) else "" for name in order)
        self._interface = interface
        self._constants = [None if isinstance(name, str) else name for name in order]
        for name, tensor in tensors.items():
            _register(self, name, tensor)
        self._graph = graph

    @property
    def any_batch(self) -> bool:
        """Whether it takes batches of any size; otherwise only of the size that was traced."""
        return self._interface.any_batch

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph; arguments as the traced model's.

        Raises:
            ArgumentError: The inputs are not of the structure or the shapes that were traced.
        """
        inputs = self._interface.flat(args, kwargs)
        state = [
            _lookup(self, name) if constant is None else constant
            for name, constant in zip(self._order, self._constants, strict=True)
        ]
        outputs = self._graph(self._interface.batch_of(inputs), self.training, *state, *inputs)
        return pytree.tree_unflatten(outputs, self._interface.specs[1])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "RewrittenModule":
        """Move constants too, and the devices that are baked into the graph."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._constants = [None if tensor is None else fn(tensor) for tensor in self._constants]
        device = next((tensor.device for tensor in (*self.parameters(), *self.buffers())), None)
        if device is not None:
            _move(self._graph, device)
        return self

    def __getstate__(self) -> dict[str, Any]:
        interface = self.__dict__["_interface"]
        specs = tuple(pytree.treespec_dumps(spec) for spec in interface.specs)
        return self.__dict__ | {"_interface": replace(interface, specs=specs)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        interface = state["_interface"]
        specs = tuple(pytree.treespec_loads(spec) for spec in interface.specs)
        super().__setstate__(state | {"_interface": replace(interface, specs=specs)})  # type: ignore[no-untyped-call]


def _move(module: fx.GraphModule, device: torch.device) -> None:
    """Let everything that the graph makes anew be made on `device`."""
    changed = False
    for node in module.graph.nodes:
        if isinstance(node.kwargs.get("device"), torch.device) and node.kwargs["device"] != device:
            node.kwargs = {**node.kwargs, "device": device}
            changed = True
    if changed:
        module.recompile()
    for child in module.children():
        if isinstance(child, fx.GraphModule):
            _move(child, device)


def _register(root: nn.Module, name: str, tensor: Tensor) -> None:
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        child = root._modules[part]
        assert child is not None
        root = child
    if isinstance(tensor, nn.Parameter):
        root.register_parameter(last, tensor)
    else:
        root.register_buffer(last, tensor)


def _lookup(root: nn.Module, name: str) -> Tensor:
    *path, last = name.split(".")
    for part in path:
        root = getattr(root, part)
    found: Tensor = getattr(root, last)
    return found
