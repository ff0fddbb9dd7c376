from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.calibration import Refit, calibrate
from autoprune.calibration.chains import RELUS, find_chains
from autoprune.calibration.fold import Folding
from autoprune.calibration.intercept import NormCall, Watch
from autoprune.candidate import CandidateEvaluator
from autoprune.criteria import rank
from autoprune.errors import ModelError
from autoprune.graph import trace
from autoprune.score import KL, SearchImages
from tests.calibration.nets import images, prefix, residual, trained
from tests.calibration.test_refit import Odd, pruned_of, setting


class Norms(Watch):
    """Counts the batch norms that run."""

    count = 0

    def on_norm(self, call: NormCall) -> Tensor:
        self.count += 1
        return super().on_norm(call)


def folding(model: nn.Module, x: Tensor) -> Folding:
    graph = trace(model, x[:2])
    chains = find_chains(model, graph.layers, lambda: model(x))
    return Folding(model, graph.layers, chains)


@pytest.mark.parametrize("name", ["residual", "plain", "mobile", "projection", "normalized read twice"])
def test_the_same_values_without_the_norms(name: str) -> None:
    s = setting(name)
    s.model.eval()
    context = folding(s.model, s.x)
    with torch.no_grad():
        with Norms(s.model, s.graph.layers) as plain:
            expected = s.model(s.x)
        assert plain.count
        outer = Norms(s.model, s.graph.layers)
        for _ in range(2):
            with outer, context:
                torch.testing.assert_close(s.model(s.x), expected, rtol=1e-10, atol=1e-10)
    assert outer.count == 0
    torch.testing.assert_close(s.model(s.x), expected, rtol=0, atol=0)


class Cuts(Watch):
    """Tells of every ReLU whether it wrote where its input was."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, [])
        self.placed: list[bool] = []

    def on_other(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        place = args[0].data_ptr() if function in RELUS else 0
        result = function(*args, **kwargs)
        if function in RELUS:
            self.placed.append(result.data_ptr() == place)
        return result


@pytest.mark.parametrize(
    ("how", "in_place"),
    [("projection", True), ("number", False), ("normalized read twice", False), ("sum read twice", False)],
)
def test_a_relu_that_alone_reads_a_value_writes_there(how: str, in_place: bool) -> None:
    x = images()
    model = trained(Odd(how), x).eval()
    context, cuts = folding(model, x), Cuts(model)
    with torch.no_grad():
        expected = model(x)
        with context, cuts:
            torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-10)
    assert cuts.placed == [in_place]


def test_every_relu_of_a_residual_network_writes_in_place_while_it_is_re_fitted_and_scored() -> None:
    s = setting("residual")
    keep = prefix(s.graph, 0.5)
    pruned, cuts = pruned_of(s, keep), Cuts(s.model)
    fit = Refit(s.graph, s.model, [s.x])
    with cuts:
        context = fit(pruned, keep)
    with torch.no_grad(), context, cuts:
        pruned.eval()(s.x)
    assert len(cuts.placed) == 10 and all(cuts.placed)


class Shown(nn.Module):
    """Returns values of its layers beside its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor | list[Tensor]]:
        before = self.one(x)
        between = self.second(self.two(F.relu(self.first(before))))
        return {"logits": self.last(F.relu(between).mean((2, 3))), "shown": [before, between]}


def test_values_that_are_returned_are_what_they_are_by_themselves() -> None:
    x = images()
    model = Shown().to(x.dtype)
    model(x)
    model.eval()
    context = folding(model, x)
    with torch.no_grad():
        expected = model(x)
        with context:
            torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-10)


def test_a_norm_whose_input_is_read_twice_runs() -> None:
    x = images()
    model = trained(Odd("norm read twice"), x).eval()
    outer, context = Norms(model, trace(model, x[:2]).layers), folding(model, x)
    with torch.no_grad(), outer, context:
        folded = model(x)
    assert outer.count == 1
    torch.testing.assert_close(folded, model(x), rtol=0, atol=0)


def test_a_network_that_leaves_its_norm_out_is_refused() -> None:
    x = images()
    model = trained(Odd("projection"), x).eval()
    context = folding(model, x)
    model.how = "other function"
    with pytest.raises(ModelError, match="not followed by their batch norm"), torch.no_grad(), context:
        model(x)


@pytest.mark.parametrize("name", ["residual", "mobile", "projection"])
def test_a_re_fitted_network_runs_folded_as_it_runs_by_itself(name: str) -> None:
    s = setting(name)
    keep = prefix(s.graph, 0.5)
    pruned = pruned_of(s, keep)
    context = Refit(s.graph, s.model, [s.x])(pruned, keep)
    pruned.eval()
    with torch.no_grad():
        expected = pruned(s.x)
        with context:
            torch.testing.assert_close(pruned(s.x), expected, rtol=1e-10, atol=1e-10)


def test_the_score_of_a_candidate_is_that_of_the_plain_network() -> None:
    model, graph, x = residual()
    calibration = calibrate(graph, model, [x])
    score = KL(SearchImages(model, [x]))
    evaluator = CandidateEvaluator(graph, model, calibration, rank(graph, model, "l1"), score, [x])
    for share in (0.3, 0.6):
        widths = {g.name: max(1, round(share * g.size)) for g in graph.prunable}
        assert evaluator.evaluate(widths).score == pytest.approx(
            float(score(evaluator.build(widths)).score), rel=1e-9
        )
