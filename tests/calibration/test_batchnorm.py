import copy

import pytest
import torch
from torch import Tensor, nn

from autoprune.calibration import recalibrate_bn
from autoprune.errors import DataError
from tests.calibration.nets import images, residual


def single() -> nn.Module:
    return nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3)).double()


def pooled(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean((0, 2, 3)), x.transpose(0, 1).flatten(1).var(1)


@pytest.mark.parametrize("sizes", [[24], [8, 16], [1, 3, 20], [24, 0]])
@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
def test_mean_and_unbiased_variance_over_all_images(sizes: list[int], momentum: float | None) -> None:
    model, x = single(), images() * 3 + 1
    model[1].momentum = momentum
    recalibrate_bn(model, x.split(sizes))
    mean, variance = pooled(x)
    torch.testing.assert_close(model[1].running_mean, mean)
    torch.testing.assert_close(model[1].running_var, variance)
    assert model[1].momentum == momentum and model.training and int(model[1].num_batches_tracked) == 0


def test_one_batch_is_what_pytorch_stores() -> None:
    model, _, x = residual()
    expected = copy.deepcopy(model)
    for module in expected.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
            module.momentum = 1.0
    with torch.no_grad():
        expected(x)
    recalibrate_bn(model, [(x, torch.zeros(len(x)))])
    for name, tensor in expected.named_buffers():
        if not name.endswith("tracked"):
            torch.testing.assert_close(dict(model.named_buffers())[name], tensor)
    assert not any(module.training for module in model.modules())


def test_a_shared_batch_norm_pools_its_uses() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm2d(3).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.bn(x) + self.bn(2 * x + 1)

    model, x = Twice(), images()
    recalibrate_bn(model, [x])
    torch.testing.assert_close(model.bn.running_var, pooled(torch.cat([x, 2 * x + 1]))[1])


def test_batch_norms_without_statistics_are_left_alone() -> None:
    model = nn.Sequential(
        nn.BatchNorm2d(3, track_running_stats=False), nn.BatchNorm2d(3, affine=False)
    ).double()
    recalibrate_bn(model, [images()])
    assert model[0].running_mean is None and not torch.equal(model[1].running_mean, torch.zeros(3))


@pytest.mark.parametrize(
    ("batches", "words"), [([], "at least one image"), ([torch.zeros(1, 3, 1, 1).double()], "larger batches")]
)
def test_too_little_data(batches: list[Tensor], words: str) -> None:
    model = single()
    with pytest.raises(DataError, match=words):
        recalibrate_bn(model, batches)
    assert model.training and torch.equal(model[1].running_mean, torch.zeros(3))
