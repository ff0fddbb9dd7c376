"""Measures against hand counts and PyTorch's own counter."""

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from autoprune.errors import MaskError
from autoprune.graph import trace
from autoprune.masks import NM, Masks, channel_masks, layer_masks, to_torch_prune
from autoprune.measures import Measures, count_macs, measure
from autoprune.plan import make_plan
from autoprune.surgery import apply


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


IMAGE = torch.zeros(2, 3, 4, 4)


def half_of(model: nn.Module) -> Masks:
    """The first half of every matrix or kernel, counted from the end of the inputs, goes."""
    return Masks(
        {
            n: torch.arange(p.numel()).reshape(p.shape) % 2 == 0
            for n, p in model.named_parameters()
            if p.dim() > 1
        }
    )


def check_half(report: Measures) -> None:
    conv, linear, total = report.layer("0"), report.layer("4"), report.total
    assert (conv.dense_params, conv.params, conv.nonzeros) == (216, 216, 108)
    assert (conv.dense_macs, conv.macs, conv.effective_macs) == (2 * 16 * 216, 2 * 16 * 216, 2 * 16 * 108)
    assert (linear.dense_params, linear.nonzeros) == (1290, 650)
    assert (linear.macs, linear.effective_macs) == (2 * 1280, 2 * 640)
    assert conv.sparsity == 0.5 and conv.pruned_percent == 50 and conv.compression == 2 and conv.speedup == 2
    assert total.speedup == 2
    assert total.params == 216 + 16 + 1290
    assert total.nonzeros == 108 + 16 + 650


def ones(model: nn.Module) -> nn.Module:
    """Without zeros of its own."""
    for p in model.parameters():
        nn.init.ones_(p)
    return model


def test_masks_count_before_and_after_they_are_applied() -> None:
    model = ones(small())
    masks = half_of(model)
    check_half(measure(model, IMAGE, masks=masks))
    assert measure(model, IMAGE).total.sparsity == 0
    with masks.apply(model):
        check_half(measure(model, IMAGE))
        check_half(measure(model, IMAGE, dense=ones(small()), masks=masks))
    to_torch_prune(masks, model)
    check_half(measure(model, IMAGE))
    model(IMAGE)
    check_half(measure(model, IMAGE))


def test_a_pattern() -> None:
    model = ones(nn.Sequential(nn.Linear(16, 4, bias=False)))
    report = measure(
        model, torch.zeros(1, 16), masks=layer_masks({"0.weight": torch.rand(4, 16)}, None, NM(1, 4))
    )
    assert report.total.compression == report.total.speedup == 4


class Sliceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 6, 3, padding=1, stride=2)
        self.c = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x).relu()).mean((2, 3)))


def test_a_sliced_network_against_the_dense_one() -> None:
    model = Sliceable()
    graph = trace(model, IMAGE)
    keep = {graph.prunable[0].name: [0, 3], graph.prunable[1].name: [1, 2, 5]}
    widths = {name: len(units) for name, units in keep.items()}
    sliced = apply(model, make_plan(graph, model, keep))
    report = measure(sliced, IMAGE, dense=model)
    assert (report.total.dense_macs, report.total.macs) == (graph.macs(), graph.macs(widths))
    assert (report.total.dense_params, report.total.params) == (graph.params(), graph.params(widths))
    assert report.total.effective_macs == report.total.macs
    assert report.layer("a").params == 2 * 27 + 2
    assert report.total.compression == graph.params() / graph.params(widths)
    masked = measure(model, IMAGE, masks=channel_masks(graph, keep)).total
    assert (masked.nonzeros, masked.effective_macs) == (report.total.params, report.total.macs)
    assert masked.params == graph.params()


class Odd(nn.Module):
    """A functional convolution, a weight used twice, a product of two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 3, 1, 1))
        self.twice = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x, self.kernel).flatten(2).transpose(1, 2)
        y = self.twice(self.twice(y))
        return y @ y.transpose(1, 2)


class Product(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x @ y


NETWORKS: dict[str, tuple[nn.Module, Any]] = {
    "cnn": (small(), IMAGE),
    "odd": (Odd(), IMAGE),
    "transposed and grouped": (
        nn.Sequential(nn.ConvTranspose2d(4, 6, 3, 2, groups=2), nn.Conv2d(6, 9, 3, groups=3, dilation=2)),
        torch.zeros(2, 4, 7, 7),
    ),
    "one and three dimensions": (
        nn.Sequential(nn.Conv1d(2, 3, 3), nn.Unflatten(1, (1, 3, 1)), nn.Conv3d(1, 2, 1)),
        torch.zeros(2, 2, 9),
    ),
    "attention": (nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), torch.randn(2, 5, 16)),
    "two inputs": (Product(), (torch.randn(2, 3), torch.randn(3, 4))),
    "keywords": (nn.MultiheadAttention(8, 2), {k: torch.randn(3, 2, 8) for k in ("query", "key", "value")}),
}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_macs_equal_those_of_the_flop_counter(name: str) -> None:
    model, inputs = NETWORKS[name]
    kwargs = inputs if isinstance(inputs, dict) else {}
    args = inputs if isinstance(inputs, tuple) else () if kwargs else (inputs,)
    model.eval()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(*args, **kwargs)
    assert sum(count_macs(model, inputs).values()) == counter.get_total_flops() / 2 > 0


def test_macs_are_booked_on_the_weight_that_they_multiply() -> None:
    model = Odd()
    assert count_macs(model, IMAGE) == {
        "kernel": 2 * 16 * 12,
        "twice.weight": 2 * (2 * 16 * 16),
        "": 2 * 16 * 16 * 4,
    }
    report = measure(model, IMAGE, masks=Masks({"twice.weight": torch.eye(4) > 0}))
    assert report.layer("").macs == 2 * 16 * 12
    assert report.layer("twice").effective_macs == 2 * (2 * 16 * 4)
    assert report.layer("(no parameter)").effective_macs == 2 * 16 * 16 * 4


def test_attention_books_its_packed_projection() -> None:
    model, inputs = NETWORKS["keywords"]
    macs = count_macs(model, inputs)
    assert macs["in_proj_weight"] == 6 * 8 * 24 and macs["out_proj.weight"] == 6 * 64


def test_shared_weights_count_once() -> None:
    model = ones(nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)))
    model[1].weight = model[0].weight
    report = measure(model, torch.zeros(1, 4), masks=Masks({"1.weight": torch.eye(4) > 0}))
    assert (report.total.params, report.total.nonzeros) == (16, 4)
    assert (report.total.macs, report.total.effective_macs) == (32, 8)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_bytes() -> None:
    model = ones(nn.Sequential(nn.Linear(100, 50), nn.BatchNorm1d(50))).half()
    mask = torch.zeros(50, 100, dtype=torch.bool)
    mask[:, :3] = True
    report = measure(model, masks=Masks({"0.weight": mask}))
    linear, norm = report.layer("0"), report.layer("1")
    csr = (mask * model[0].weight.detach()).to_sparse_csr()
    parts = csr.values(), csr.col_indices().int(), csr.crow_indices().int()
    assert linear.sparse_bytes == sum(t.numel() * t.element_size() for t in parts) + 100
    assert linear.dense_bytes == linear.bytes == 10_100
    assert norm.bytes == norm.sparse_bytes == 4 * 100 + 8
    state = model.state_dict().values()
    assert report.total.bytes == sum(t.numel() * t.element_size() for t in state)


def test_a_dense_tensor_is_never_stored_larger() -> None:
    total = measure(ones(small())).total
    assert total.sparse_bytes == total.bytes == total.dense_bytes


def test_without_inputs_there_are_no_macs() -> None:
    report = measure(small())
    assert report.total.macs is None and report.total.speedup is None
    assert "MACs" not in str(report) and "bytes" in str(report)


def test_the_table() -> None:
    model = ones(small())
    table = str(measure(model, IMAGE, masks=half_of(model)))
    lines = table.splitlines()
    assert lines[0].split()[0] == "layer" and lines[-1].split()[0] == "total"
    assert len({len(line) for line in lines}) == 1
    assert "50.0%" in table and "2.00x" in table and "6,912" in table
    assert len(lines) == 3 + 3 + 1


def test_as_plain_data() -> None:
    report = measure(ones(small()), IMAGE)
    data = json.loads(json.dumps(report.as_dict()))
    assert data["total"]["macs"] == 2 * 16 * 216 + 2 * 1280
    assert [layer["name"] for layer in data["layers"]] == ["0", "1", "4"]
    with pytest.raises(KeyError):
        report.layer("nowhere")


def test_all_gone() -> None:
    model = nn.Linear(3, 2, bias=False)
    total = measure(model, torch.zeros(1, 3), masks=Masks({"weight": torch.zeros(2, 3) > 0})).total
    assert total.compression == total.speedup == math.inf
    assert (total.sparsity, total.pruned_percent) == (1.0, 100.0)
    assert measure(nn.ReLU(), torch.zeros(1)).total.compression == 1.0


def test_the_model_is_left_as_it_was() -> None:
    model = small().train()
    model[1].eval()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    fast = torch.backends.mha.get_fastpath_enabled()
    measure(model, torch.randn(2, 3, 4, 4))
    assert [m.training for m in model] == [True, False, True, True, True]
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert all(p.grad is None for p in model.parameters())


def test_masks_of_another_network() -> None:
    with pytest.raises(MaskError, match=r"'9\.weight'"):
        measure(small(), masks=Masks({"9.weight": torch.ones(2) > 0}))
    with pytest.raises(MaskError, match="shape"):
        measure(small(), masks=Masks({"4.weight": torch.ones(2) > 0}))


def test_partly_pruned_by_torch() -> None:
    model = ones(small())
    prune.l1_unstructured(model[4], "weight", 0.5)
    report = measure(model, IMAGE, masks=Masks({"4.bias": torch.arange(10) < 5}))
    assert report.layer("4").nonzeros == 640 + 5
    assert report.layer("4").effective_macs == 2 * 640
    assert report.layer("4").bytes == 1290 * 4, "masks are no part of the file"


@pytest.mark.cifar
def test_a_trained_resnet_counts_like_its_graph(cifar: SimpleNamespace) -> None:
    model, x = cifar.models.resnet20(), torch.zeros(1, 3, 32, 32)
    graph = trace(model, x)
    total = measure(model, x).total
    assert (total.macs, total.params) == (graph.macs(), graph.params())
