"""2:4 masks as hardware sparsity."""

import pytest
import torch
from torch import nn

from autoprune.errors import MaskError
from autoprune.masks import NM, Masks, layer_masks, to_semi_structured


def net() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.Linear(64, 64))
    net.append(nn.Linear(64, 64))
    net[4].weight = net[3].weight
    return net


def two_of_four(model: nn.Module) -> Masks:
    scores = {n: p.detach().abs() for n, p in model.named_parameters() if p.dim() >= 2}
    return layer_masks(scores, None, NM(2, 4))


def test_without_the_hardware_weights_stay_dense_and_the_report_says_so() -> None:
    model = net()
    masks = two_of_four(model) & Masks({"0.bias": torch.arange(128) > 3, "2.weight": torch.rand(64, 128) < 2})
    masks = Masks({**masks, "2.weight": torch.rand(64, 128) < 0.9})
    report = to_semi_structured(masks, model)
    assert report.converted == ()
    assert report.dense == {
        "0.weight": "the device 'cpu' has no semi-structured kernels",
        "0.bias": "only the weights of nn.Linear have semi-structured kernels",
        "2.weight": "the mask is not 2:4",
        "3.weight": "the weight is shared by several modules",
    }
    assert "2.weight: dense, the mask is not 2:4" in str(report)
    assert all(not model.get_parameter(n)[~m].any() for n, m in masks.items())


def test_a_tail_stays_dense() -> None:
    """The pattern holds in a tail too, but the hardware wants whole windows."""
    model = nn.Linear(6, 4)
    masks = layer_masks({"weight": model.weight.detach().abs()}, None, NM(2, 4))
    report = to_semi_structured(masks, model)
    assert report.dense == {"weight": "its 6 inputs are no multiple of 4"} and not report.converted


def test_masks_of_another_network_change_nothing() -> None:
    model = net()
    before = model[0].weight.detach().clone()
    with pytest.raises(MaskError):
        to_semi_structured(Masks({**two_of_four(model), "9.weight": torch.ones(2) > 0}), model)
    assert torch.equal(model[0].weight, before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:The PyTorch API of SparseSemiStructuredTensor")
def test_on_the_hardware() -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("needs compute capability 8.0")
    model = net().cuda().half()
    masks = two_of_four(model)
    x = torch.randn(32, 64, device="cuda", dtype=torch.half)
    with torch.no_grad():
        with masks.apply(model):
            expected = model(x)
        report = to_semi_structured(masks, model)
        assert report.converted == ("0.weight", "2.weight")
        assert set(report.dense) == {"3.weight"}
        assert torch.allclose(model(x), expected, atol=1e-2, rtol=1e-2)
