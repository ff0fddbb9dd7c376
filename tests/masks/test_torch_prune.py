"""To and from torch.nn.utils.prune."""

import logging

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from autoprune.errors import MaskError
from autoprune.masks import Masks, from_torch_prune, strip_torch_prune, to_torch_prune


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.linear = nn.Linear(16, 5)
        self.scale = nn.Parameter(torch.randn(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.bn(self.conv(x)).flatten(1)) * self.scale


def random_masks(model: nn.Module, seed: int = 0) -> Masks:
    chance = torch.Generator().manual_seed(seed)
    return Masks({n: torch.rand(p.shape, generator=chance) < 0.5 for n, p in model.named_parameters()})


def test_there_and_back_without_trace() -> None:
    model = Net()
    masks = random_masks(model)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    attributes = [set(m.__dict__) for m in model.modules()]
    to_torch_prune(masks, model)
    assert prune.is_pruned(model)
    assert "conv.weight_orig" in model.state_dict() and "conv.weight" not in dict(model.named_parameters())
    assert from_torch_prune(model) == masks
    assert strip_torch_prune(model) == masks
    assert not prune.is_pruned(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[n], before[n]) for n in before)
    assert [set(m.__dict__) for m in model.modules()] == attributes
    assert strip_torch_prune(model) == Masks({})


def test_the_pruned_model_computes_what_the_masked_one_does() -> None:
    model, masked = Net().eval(), Net().eval()
    masked.load_state_dict(model.state_dict())
    masks = random_masks(model)
    masks = Masks({n: m for n, m in masks.items() if n != "scale"})
    to_torch_prune(masks, model)
    x = torch.randn(2, 3, 4, 4)
    with masks.apply(masked):
        assert torch.equal(model(x), masked(x))
    assert not torch.equal(model(x), masked(x))


def test_from_every_way_to_prune() -> None:
    model = Net()
    prune.global_unstructured(
        [(model.conv, "weight"), (model.linear, "weight")], prune.L1Unstructured, amount=0.5
    )
    prune.ln_structured(model.conv, "weight", 0.5, n=2, dim=0)  # a second time, into a container
    prune.random_unstructured(model.linear, "bias", 0.4)
    masks = from_torch_prune(model)
    assert set(masks) == {"conv.weight", "linear.weight", "linear.bias"}
    assert torch.equal(masks["conv.weight"], model.conv.weight_mask.bool())
    assert masks.sparsities["linear.bias"] == pytest.approx(0.4)
    effective = model.conv.weight.detach().clone()
    strip_torch_prune(model)
    masks.bake(model)
    assert torch.equal(model.conv.weight, effective)


def test_pruning_what_is_pruned_keeps_what_both_keep() -> None:
    model = Net()
    one, two = random_masks(model, 1), random_masks(model, 2)
    to_torch_prune(one, model)
    to_torch_prune(two, model)
    assert from_torch_prune(model) == one & two
    strip_torch_prune(model)
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_a_shared_weight_is_pruned_everywhere() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    gone = Masks({"0.weight": torch.eye(4) > 0})
    to_torch_prune(gone, model)
    model(torch.randn(1, 4))
    for layer in model:
        assert torch.equal(layer.weight_mask.bool(), gone["0.weight"])
    strip_torch_prune(model)
    assert model[0].weight is model[1].weight


def test_buffers_are_left_out_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    model = Net()
    with caplog.at_level(logging.INFO, "autoprune.masks"):
        to_torch_prune(Masks({"bn.running_mean": torch.zeros(4, dtype=torch.bool)}), model)
    assert "'bn.running_mean' is left out" in caplog.text
    assert not prune.is_pruned(model)


def test_a_pruned_model_must_be_stripped_first() -> None:
    model = Net()
    masks = random_masks(model)
    to_torch_prune(masks, model)
    with pytest.raises(MaskError, match="strip_torch_prune"):
        masks.apply(model)


def test_masks_of_another_network() -> None:
    model = Net()
    with pytest.raises(MaskError, match="wait"):
        to_torch_prune(Masks({"conv.wait": torch.ones(2) > 0}), model)
    with pytest.raises(MaskError, match="shape"):
        to_torch_prune(Masks({"scale": torch.ones(5) > 0, "conv.weight": torch.ones(2) > 0}), model)
    assert not prune.is_pruned(model)
