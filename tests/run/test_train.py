import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from autoprune.errors import ArgumentError, DataError, ModelError
from autoprune.train import accuracy, finetune


def problem(shuffle: bool = True) -> Any:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=generator)
    y = (x @ torch.randn(6, 3, generator=generator)).argmax(1)
    return DataLoader(TensorDataset(x, y), 20, shuffle=shuffle)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3)
        )


def test_accuracy_is_a_share_and_keeps_modes() -> None:
    model = network().train()
    model[1].eval()
    loader = problem()
    got = accuracy(model, loader)
    assert [m.training for m in model.modules()] == [True, True, False, True, True, True]
    model.eval()
    x, y = loader.dataset.tensors
    assert got == pytest.approx((model(x).argmax(1) == y).double().mean().item())


def test_finetune_learns_in_place_and_is_seeded() -> None:
    models, runs = [network(), network(), network()], []
    before = accuracy(models[0], problem())
    state = torch.get_rng_state()
    for model, seed in zip(models, (0, 0, 1), strict=True):
        runs.append(finetune(model, problem(), 4, lr=0.1, seed=seed))
    assert torch.equal(torch.get_rng_state(), state)
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][-1] < runs[0][0]
    assert accuracy(models[0], problem()) > before + 0.1
    assert models[0].training
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)


def test_finetune_reports_and_keeps_eval_mode() -> None:
    seen: list[tuple[int, float]] = []
    model = network().eval()
    losses = finetune(model, problem(), 2, on_epoch=lambda epoch, loss: seen.append((epoch, loss)))
    assert seen == list(enumerate(losses, 1))
    assert not model.training


def test_nothing_to_do() -> None:
    model = network()
    want = copy.deepcopy(model.state_dict())
    assert finetune(model, problem(), 0) == []
    model.requires_grad_(False)
    assert finetune(model, problem(), 2) == []
    torch.testing.assert_close(model.state_dict(), want)


@pytest.mark.parametrize(
    ("loader", "epochs", "error", "message"),
    [
        ([], 1, DataError, "empty loader"),
        ([torch.zeros(4, 6)], 1, DataError, r"must give \(inputs, labels\)"),
        (
            [(torch.zeros(4, 6), torch.zeros(4).long())],
            -1,
            ArgumentError,
            "epochs must be at least 0, got -1",
        ),
    ],
)
def test_bad_input(loader: Any, epochs: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        finetune(network(), loader, epochs)


def test_a_diverging_loss_is_an_error() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="loss must stay finite, got nan"):
        finetune(model, problem(), 1)


def test_accuracy_needs_labels() -> None:
    with pytest.raises(DataError, match="to measure an accuracy"):
        accuracy(network(), [torch.zeros(4, 6)])
