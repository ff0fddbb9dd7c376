"""MACs as PyTorch's own counter sees them: of a whole model, and of ops whose cost has no formula here."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses import FakeTensor
from torch.fx.node import map_arg
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from autoprune.graph.call import Call
from autoprune.graph.export import evaluating, split_inputs


def count_macs(call: Call) -> int:
    """Run the call on the exported (shape-only) tensors under `FlopCounterMode`; 0 if it cannot be run."""
    node = call.node
    args = map_arg(node.args, _meta)
    kwargs = map_arg(node.kwargs, _meta)
    modes = {id(t.fake_mode): t.fake_mode for t in _tensors([args, kwargs]) if isinstance(t, FakeTensor)}
    if not callable(node.target) or len(modes) != 1:
        return 0
    counter = FlopCounterMode(display=False)
    with ExitStack() as stack:
        for mode in modes.values():
            stack.enter_context(mode)
        stack.enter_context(torch.no_grad())
        stack.enter_context(counter)
        try:
            node.target(*args, **kwargs)
        except (
            Exception
        ):  # a body that cannot be run on shapes costs nothing that the counter could see either
            return 0
    return int(counter.get_total_flops()) // 2


def _meta(node: fx.Node) -> Any:
    return node.meta.get("val")


def _tensors(item: Any) -> list[Tensor]:
    if isinstance(item, Tensor):
        return [item]
    if isinstance(item, list | tuple):
        return [t for i in item for t in _tensors(i)]
    if isinstance(item, dict):
        return [t for i in item.values() for t in _tensors(i)]
    return []


def counted_macs(model: nn.Module, example_inputs: Any) -> int:
    """MACs of one forward pass in eval mode, as `torch.utils.flop_counter.FlopCounterMode` counts them.

    The counter knows PyTorch's matrix products and convolutions, but not the fused kernels that may replace
    them (scaled dot-product attention on CPU, the fast path of `nn.MultiheadAttention`); these are switched
    off while it counts, so that the result depends on the network only.

    Args:
        model: The network; its modes are left as they are.
        example_inputs: A tensor, a tuple of positional arguments or a dict of keyword arguments.
    """
    args, kwargs = split_inputs(example_inputs)
    counter = FlopCounterMode(display=False)
    # The counter fails under no_grad where a parameter that needs gradients is the input of a module.
    trained = [p for p in model.parameters() if p.requires_grad and p.is_leaf]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        with evaluating(model), torch.no_grad(), unfused_attention(), counter:
            model(*args, **kwargs)
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
    return int(counter.get_total_flops()) // 2


@contextmanager
def unfused_attention() -> Iterator[None]:
    """Attention runs as matrix products: PyTorch's registry of formulas lacks some of its fused kernels."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
