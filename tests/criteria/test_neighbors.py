"""Mutual information by neighbors."""

import math
import sys

import pytest
import torch
from sklearn.feature_selection import mutual_info_classif
from torch import Tensor, nn

from autoprune.criteria import MutualInformation, make_criterion, rank, unit_scores
from autoprune.errors import ArgumentError, DataError
from autoprune.graph import trace
from tests.calibration.nets import residual


def test_it_is_the_estimate_of_the_library_for_the_mean_activations() -> None:
    model, graph, x = residual()
    y = torch.arange(len(x)) % 4
    batches = list(zip(x.split(7), y.split(7), strict=True))
    scores = unit_scores(graph, model, MutualInformation(2), batches=batches)
    kept: list[Tensor] = []
    handle = model.a2.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    with torch.no_grad():
        model(x)
    handle.remove()
    means = kept[0].mean((2, 3)).float().double().numpy()
    expected = mutual_info_classif(means, y.numpy(), n_neighbors=2, random_state=0)
    # The library adds noise of 1e-10 against ties, from the seed.
    torch.testing.assert_close(scores["a1.weight"], torch.from_numpy(expected), rtol=1e-4, atol=1e-4)


def test_a_unit_that_tells_the_label_comes_first() -> None:
    """One unit is bright for one label; a unit that is a function of it by halves lies in between."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(2, (200,), generator=generator)
    noise = torch.rand(200, 3, 2, 2, generator=generator)
    x = noise.clone()
    x[:, 0] += 2 * y[:, None, None]
    x[:, 1] += 0.15 * y[:, None, None]
    model = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU(), nn.Conv2d(3, 2, 1)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3)[..., None, None])
    graph = trace(model, x[:1])
    scores = unit_scores(graph, model, "mutual_information(3)", batches=[(x, y)])["0.weight"]
    assert float(scores[0]) == pytest.approx(math.log(2), abs=0.02)
    assert scores[0] > scores[1] > scores[2] and float(scores[2]) < 0.1
    assert rank(graph, model, "mutual_information(3)", batches=[(x, y)])["0.weight"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("neighbors", [-1, 1.5, math.nan, math.inf, True])
def test_neighbors_are_counted(neighbors: float) -> None:
    with pytest.raises(ArgumentError, match="neighbors must be a whole number of at least 0, got"):
        MutualInformation(neighbors)  # type: ignore[arg-type]
    made = make_criterion("mutual_information(5)")
    assert isinstance(made, MutualInformation) and made.neighbors == 5
    assert (made.name, made.runs, made.statistics) == ("mutual_information(5)", True, frozenset())
    plain = MutualInformation()
    assert (plain.name, plain.runs, len(plain.statistics)) == ("mutual_information", False, 1)


def test_what_is_missing_is_named_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    model, graph, x = residual()
    with pytest.raises(ArgumentError, match="'mutual_information\\(3\\)' runs the network and needs batches"):
        rank(graph, model, "mutual_information(3)")
    with pytest.raises(DataError, match="'mutual_information' needs labels, but batch 0"):
        rank(graph, model, "mutual_information(3)", batches=[x])
    monkeypatch.setitem(sys.modules, "sklearn.feature_selection", None)
    with pytest.raises(ArgumentError, match="needs scikit-learn: pip install scikit-learn"):
        make_criterion("mutual_information(3)")
