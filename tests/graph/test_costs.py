"""MACs, parameters and layer records against PyTorch's own counters."""

import pytest
import torch
from torch import Tensor, nn

from autoprune.errors import ArgumentError
from autoprune.graph import Extent, Term, trace
from autoprune.graph.flops import counted_macs
from tests.graph.cases import Cases
from tests.graph.nets import NETS, image


@pytest.mark.parametrize("name", sorted(NETS))
def test_dense_costs(case: Cases, name: str) -> None:
    found = case(name)
    assert found.traced.graph.macs() == counted_macs(found.model, found.inputs)
    assert found.traced.graph.params() == sum(p.numel() for p in found.model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_costs_do_not_depend_on_the_type(dtype: torch.dtype) -> None:
    for name in ("attention_fused", "mobilenet"):
        model, inputs = NETS[name]()
        model, inputs = model.to(dtype).eval(), inputs.to(dtype)
        assert trace(model, inputs).macs() == counted_macs(model, inputs)


def test_macs_count_the_batch() -> None:
    model, _ = NETS["plain_cnn"]()
    assert trace(model, image(batch=6)).macs() == 3 * trace(model, image(batch=2)).macs()


def test_widths_are_checked(case: Cases) -> None:
    graph = case("option_a").traced.graph
    with pytest.raises(ArgumentError, match=r"must lie in 1\.\.6, got 0"):
        graph.macs({"inner.0.weight": 0})
    with pytest.raises(ArgumentError, match="must stay 8: the group is locked"):
        graph.params({"outer.weight": 7})
    with pytest.raises(ArgumentError, match="did you mean 'inner.0.weight'"):
        graph.params({"inner.weight": 3})


def test_terms_are_exact_arithmetic() -> None:
    term = Term("layer", 3, (Extent(1, (("g", 2),)), Extent(0, (("g", 4),))), Extent(0, (("g", 1),)))
    assert term({"g": 5}) == 3 * 11 * 20 // 5


def test_layers_of_a_depthwise_network(case: Cases) -> None:
    graph = case("mobilenet").traced.graph
    layer = next(layer for layer in graph.layers if layer.name == "two.1.0")
    assert (layer.kind, layer.weight, layer.bias) == ("conv", "two.1.0.weight", None)
    assert (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == (
        (3, 3),
        (2, 2),
        (1, 1),
        (1, 1),
    )
    assert layer.groups == layer.inputs == layer.outputs == Extent(0, (("two.0.0.weight", 1),))
    assert layer.positions == 2 * 4 * 4


def test_layers_of_a_grouped_network(case: Cases) -> None:
    layer = next(layer for layer in case("grouped").traced.graph.layers if layer.name == "1.0")
    assert layer.groups == Extent(4)
    assert layer.inputs == Extent(0, (("0.0.weight", 4),))
    assert layer.outputs == Extent(0, (("1.0.weight", 4),))


def test_layers_of_transposed_and_padded_convolutions(case: Cases) -> None:
    layer = case("transposed").traced.graph.layers[1]
    assert (layer.kind, layer.stride, layer.positions) == ("conv_transposed", (2, 2), 2 * 14 * 14)
    assert (layer.inputs, layer.outputs) == (Extent(0, (("0.weight", 1),)), Extent(0, (("1.weight", 2),)))
    volume, line, _ = case("one_and_three_dimensional").traced.graph.layers
    assert (volume.kernel_size, volume.padding, volume.positions) == ((3, 3, 3), (1, 1, 1), 2 * 4 * 4 * 8)
    assert (line.kernel_size, line.dilation) == ((3,), (2,))


def test_layers_after_flatten_and_with_bias(case: Cases) -> None:
    layer = next(layer for layer in case("vgg_flatten").traced.graph.layers if layer.name == "head.0")
    assert (layer.kind, layer.bias, layer.kernel_size) == ("linear", "head.0.bias", ())
    assert layer.inputs == Extent(0, (("features.3.weight", 4),))


def test_a_shared_module_is_one_layer(case: Cases) -> None:
    graph = case("shared_module").traced.graph
    layer = next(layer for layer in graph.layers if layer.name == "body.0")
    assert (layer.calls, layer.positions) == (2, 2 * 64 + 2 * 16)
    assert [layer.name for layer in graph.layers] == ["stem.0", "body.0", "head"]


def test_layers_of_the_root_and_tied_weights(case: Cases) -> None:
    assert [layer.name for layer in case("functional").traced.graph.layers] == ["", "", ""]
    tied = case("tied_weights").traced.graph.layers
    assert [(layer.weight, layer.calls) for layer in tied] == [("first.weight", 2), ("out.weight", 1)]


def test_unknown_ops_cost_what_the_counter_says() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.lstm(x)[0]
            return found

    model, inputs = Recurrent().double(), torch.randn(3, 2, 4, dtype=torch.float64)
    assert trace(model, inputs).macs() == counted_macs(model, inputs) > 0
