"""Correlation of feature maps against maps that are kept and correlated one pair at a time."""

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.calibration import calibrate
from autoprune.criteria import L2, Context, FeatureCorrelation, rank, unit_scores
from autoprune.errors import ArgumentError
from autoprune.graph import trace
from tests.calibration.nets import images, residual, trained

ALL = 10**6


def plain(rows: Tensor) -> Tensor:
    """1 minus the largest absolute correlation, of rows (units, values)."""
    found = np.abs(np.corrcoef(rows.numpy()))
    np.fill_diagonal(found, 0)
    return torch.from_numpy(1 - found.max(1))


def test_one_reader_of_single_places() -> None:
    """`a2` is a 1x1 convolution: what it reads are the maps themselves."""
    model, graph, x = residual()
    calibration = calibrate(graph, model, x.split(7), positions=ALL)
    scores = unit_scores(graph, model, "feature_correlation", calibration)["a1.weight"]
    kept: list[Tensor] = []
    handle = model.a2.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    with torch.no_grad():
        model(x)
    handle.remove()
    torch.testing.assert_close(scores, plain(kept[0].transpose(0, 1).flatten(1)))
    assert 0 < float(scores.min()) < float(scores.max()) < 1


def test_kernels_and_a_flattened_map() -> None:
    """A unit's columns are paired place by place: patches of a convolution, pixels of a flattened map."""
    net = nn.Sequential(
        nn.Conv2d(3, 5, 1), nn.ReLU(), nn.Conv2d(5, 4, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(64, 3),
    )  # fmt: skip
    x = images(30, size=4)
    model = trained(net, x)
    graph = trace(model, x[:2])
    scores = FeatureCorrelation().scores(
        Context.of(graph, model, calibrate(graph, model, [x], positions=ALL))
    )
    with torch.no_grad():
        first = net[1](net[0](x))
        second = net[3](net[2](first))
    patches = F.unfold(first, 3, padding=1).view(30, 5, 9, 16)
    for name, parts in (
        ("0.weight", patches.permute(1, 2, 0, 3)),
        ("2.weight", second.flatten(2).permute(1, 2, 0)),
    ):
        rows = parts.flatten(2)
        rows = (rows - rows.mean(2, keepdim=True)).flatten(1)
        found = (rows @ rows.T).abs() / (rows.norm(dim=1)[:, None] * rows.norm(dim=1))
        torch.testing.assert_close(scores[name], 1 - found.fill_diagonal_(0).amax(1))


def test_twins_and_constants_go_first() -> None:
    """A scaled copy of a unit, and a unit that says nothing."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    x = images(20)
    model = trained(net, x)
    with torch.no_grad():
        for tensor in (net[0].weight, net[0].bias):
            tensor[2] = 3 * tensor[0]
            tensor[3] = 0
        net[0].bias[3] = 1
    graph = trace(model, x[:2])
    calibration = calibrate(graph, model, [x], positions=ALL)
    scores = unit_scores(graph, model, "feature_correlation", calibration)["0.weight"]
    torch.testing.assert_close(scores[[0, 2, 3]], torch.zeros(3).double(), atol=1e-7, rtol=0)
    assert scores[1] > 0.05
    assert rank(graph, model, "feature_correlation", calibration)["0.weight"][0] == 1


def test_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, graph, x = residual()
    calibration = calibrate(graph, model, [x])
    whole = unit_scores(graph, model, "feature_correlation", calibration)
    monkeypatch.setattr("autoprune.criteria.feature_correlation.PART", 3)
    parts = unit_scores(graph, model, "feature_correlation", calibration)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name])


def test_what_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    model, graph, x = residual()
    with pytest.raises(ArgumentError, match="'feature_correlation' reads data and needs calibration"):
        unit_scores(graph, model, "feature_correlation")
    with pytest.raises(ArgumentError, match="'feature_correlation' needs calibration"):
        FeatureCorrelation().scores(Context.of(graph, model))
    calibration = calibrate(graph, model, [x])
    dict.pop(calibration.moments, "a2.weight")  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, "autoprune"):
        scores = unit_scores(graph, model, "feature_correlation", calibration)
    assert "a1.weight" in caplog.text
    assert torch.equal(scores["a1.weight"], L2().scores(Context.of(graph, model))["a1.weight"])
