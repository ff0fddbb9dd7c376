import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from autoprune.calibration import Refit, refit, room
from autoprune.calibration.room import largest_activation, with_room
from autoprune.data import as_batch
from autoprune.plan import make_plan
from autoprune.surgery import apply
from tests.calibration.nets import prefix, residual

WIDE = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(45, 4000))


@pytest.mark.parametrize(("make", "numbers"), [
    (lambda: WIDE, 4000),  # the weight of the last layer, 180,000 numbers, is none
    (lambda: WIDE[:4], 5 * 6 * 6),
    (lambda: nn.Sequential(nn.Conv2d(3, 2, 1), nn.Upsample(scale_factor=3)), 2 * 24 * 24),
])  # fmt: skip
def test_the_largest_activation(make: Callable[[], nn.Module], numbers: int) -> None:
    model, mode = make().train(), torch.is_grad_enabled()
    assert largest_activation(model, as_batch(torch.zeros(1, 3, 8, 8))) == 4 * numbers
    assert model.training and torch.is_grad_enabled() == mode


@pytest.mark.parametrize(("bytes_of_pass", "fewest", "kept"), [
    (10**9, 1, [5, 5, 2]),
    (6 * 16_000 * 7, 1, [5, 2]),
    (6 * 16_000 * 8 - 1, 1, [5, 2]),
    (1, 6, [5, 1]),
    (1, 1, [1]),
])  # fmt: skip
def test_as_many_images_as_there_is_room_for(
    bytes_of_pass: int, fewest: int, kept: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "PASS_BYTES", bytes_of_pass)
    monkeypatch.setattr(room, "FEWEST", fewest)
    images = torch.randn(12, 3, 8, 8)
    found, total = with_room(WIDE, images.split(5))
    assert total == 12 and [batch.size for batch in found] == kept
    assert torch.equal(torch.cat([batch.inputs for batch in found if isinstance(batch.inputs, Tensor)]),
                       images[: sum(kept)])  # fmt: skip


def test_fewer_images_of_a_refit_give_more_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    model, graph, x = residual()
    keep = prefix(graph, 0.5)
    first = apply(model, make_plan(graph, model, keep))
    second = copy.deepcopy(first)
    monkeypatch.setattr(room, "PASS_BYTES", 1)
    monkeypatch.setattr(room, "FEWEST", 8)
    refit(model, first, graph, keep, x.split(5), positions=4)
    Refit(graph, model, [x[:8]], positions=4 * 24 // 8)(second, keep)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(),
                                                 strict=True))  # fmt: skip
