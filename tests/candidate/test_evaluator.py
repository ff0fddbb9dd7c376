import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoprune.calibration import Reconstruction, calibrate, refit
from autoprune.candidate import CandidateEvaluator, Evaluation, Workers
from autoprune.candidate.evaluator import PULL
from autoprune.errors import ArgumentError, DataError
from autoprune.graph import PruneGraph, trace
from autoprune.plan import make_plan
from autoprune.score import KL, Score, SearchImages
from autoprune.surgery import apply, proven
from tests.surgery.nets import CASES

NAMES = ["plain", "residual", "mobile", "dense"]


def bench(name: str = "residual", **settings: Any) -> SimpleNamespace:
    """An evaluator and all that it was made of."""
    case = CASES[name]
    model = case.model()
    graph = trace(model, case.inputs())
    if "form" in settings:
        graph = proven(graph, form=settings.pop("form"))
    rng = np.random.default_rng(5)
    generator = torch.Generator().manual_seed(4)
    data = [torch.randn(16, *case.shape[1:], generator=generator) for _ in range(3)]
    order = {g.name: rng.permutation(g.size) for g in graph.prunable}
    calibration = calibrate(graph, model, data)
    score = KL(SearchImages(model, data[:2], batch_size=8, channels_last=settings.pop("channels_last", None)))
    evaluator = CandidateEvaluator(graph, model, calibration, order, score, data[1:], **settings)
    return SimpleNamespace(**{k: v for k, v in locals().items() if k not in ("settings", "generator")})


def halves(graph: PruneGraph) -> dict[str, int]:
    return {g.name: max(1, g.size // 2) for g in graph.prunable}


def random_widths(graph: PruneGraph, seed: int) -> dict[str, int]:
    rng = np.random.default_rng(seed)
    return {g.name: int(rng.integers(1, g.size + 1)) for g in graph.prunable}


def test_keep_is_the_sorted_prefix_of_the_order() -> None:
    b = bench()
    widths = halves(b.graph)
    keep = b.evaluator.keep(widths)
    assert {n: sorted(b.order[n][:w].tolist()) for n, w in widths.items()} == {
        n: units.tolist() for n, units in keep.items()
    }
    assert {n: len(units) for n, units in b.evaluator.keep({}).items()} == {
        g.name: g.size for g in b.graph.prunable
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_candidate_equals_the_same_steps_on_fresh_networks(name: str, channels_last: bool) -> None:
    """Slice, reconstruct and re-fit by the public parts, on an independent network."""
    b = bench(name, channels_last=channels_last)
    widths = halves(b.graph)
    keep = b.evaluator.keep(widths)
    expected = apply(b.model, make_plan(b.graph, b.model, keep))
    weights = Reconstruction(b.graph, b.model, b.calibration)(keep)
    assert weights
    expected.load_state_dict({**expected.state_dict(), **weights})
    refit(b.model, expected, b.graph, keep, b.data[1:], ridge=PULL, relu_steps=0)
    built = b.evaluator.build(widths)
    assert not built.training
    x = b.case.inputs()
    with torch.no_grad():
        torch.testing.assert_close(built(x), expected.eval()(x), rtol=1e-4, atol=1e-5)
    measured = SearchImages(b.model, b.data[:2], channels_last=False).measure(expected)
    assert b.evaluator.evaluate(widths).metrics["kl"] == pytest.approx(measured["kl"], rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_dense_candidate_is_the_dense_network(name: str) -> None:
    """Negative control included: half the widths must cost something."""
    b = bench(name)
    plain = CandidateEvaluator(b.graph, b.model, None, b.order, b.score, None, reconstruct=False)
    assert plain.evaluate({}).score == pytest.approx(0, abs=1e-9)
    assert plain.evaluate(halves(b.graph)).score < -1e-3


def test_reconstruction_and_batch_norm_help() -> None:
    b = bench("residual")
    make: Callable[..., CandidateEvaluator] = lambda bn, flag: CandidateEvaluator(  # noqa: E731
        b.graph, b.model, b.calibration, b.order, b.score, bn, reconstruct=flag
    )
    scores = {
        (bn, flag): np.mean(
            [
                make(b.data if bn else None, flag).evaluate(random_widths(b.graph, seed)).score
                for seed in range(6)
            ]
        )
        for bn in (False, True)
        for flag in (False, True)
    }
    assert max(scores, key=lambda k: scores[k]) in {(True, True), (False, True)}
    assert scores[True, True] > scores[False, False]


@pytest.mark.parametrize("name", NAMES)
def test_a_value_depends_on_the_widths_alone(name: str) -> None:
    """Bit by bit, in any order, with and without memory, in a fresh evaluator."""
    b = bench(name)
    candidates = [random_widths(b.graph, seed) for seed in range(4)] + [{}]
    first = [b.evaluator.evaluate(w) for w in candidates]
    forgetful = bench(name, memo=0).evaluator
    second = [forgetful.evaluate(w) for w in reversed(candidates)][::-1]
    third = [forgetful.evaluate(w) for w in candidates]
    assert first == second == third
    assert len({e.score for e in first}) == len(first)


def test_the_model_is_untouched_and_may_be_in_train_mode() -> None:
    b = bench()
    before = copy.deepcopy(b.model.state_dict())
    expected = b.evaluator.evaluate(halves(b.graph))
    b.model.train()
    again = CandidateEvaluator(b.graph, b.model, b.calibration, b.order, b.score, b.data[1:])
    assert again.evaluate(halves(b.graph)) == expected
    assert not again.build(halves(b.graph)).training
    assert all(module.training for module in b.model.modules())
    assert all(torch.equal(before[n], t) for n, t in b.model.state_dict().items())
    assert all(p.grad is None for p in b.model.parameters())


def test_global_random_state_is_neither_read_nor_changed() -> None:
    b = bench(memo=0)
    torch.manual_seed(1)
    first = b.evaluator.evaluate(halves(b.graph))
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert b.evaluator.evaluate(halves(b.graph)) == first
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


class Counting(Score):
    name, worst = "counting", 0.0
    calls = 0

    def __call__(self, candidate: nn.Module) -> Evaluation:
        self.calls += 1
        return super().__call__(candidate)

    def _value(self, metrics: dict[str, float]) -> float:
        return -metrics["kl"]


def test_the_latest_evaluations_are_remembered() -> None:
    b = bench()
    score = Counting(b.score.images)
    evaluator = CandidateEvaluator(b.graph, b.model, b.calibration, b.order, score, None, memo=2)
    name = b.graph.prunable[0].name
    one, two, three = ({name: width} for width in (1, 2, 3))
    evaluator.evaluate(one)
    evaluator.evaluate(two)
    evaluator.evaluate({**b.graph.widths(), **one})
    assert score.calls == 2, "missing groups are dense ones"
    evaluator.evaluate(three)
    evaluator.evaluate(one)
    assert score.calls == 3
    evaluator.evaluate(two)
    assert score.calls == 4, "the least recently used one was dropped"


@pytest.mark.parametrize("form", ["class", "graph"])
def test_workers_find_the_same_values(form: str) -> None:
    made = bench(form=form)
    candidates = [random_widths(made.graph, seed) for seed in range(5)]
    expected = [made.evaluator.evaluate(widths) for widths in candidates]
    made.evaluator._memo.clear()
    with Workers(made.evaluator.evaluate, 2) as workers:
        made.evaluator.prefetch([*candidates, candidates[0]], workers)
        before = dict(made.evaluator.timings.seconds)
        assert [made.evaluator.evaluate(widths) for widths in candidates] == expected
        assert made.evaluator.timings.seconds == before, "nothing is evaluated again"
        assert before["candidates, 2 workers"] > 0 and before["re-fit"] > 0 and before["score"] > 0
        with pytest.raises(ArgumentError):
            made.evaluator.prefetch([{"unknown": 1}], workers)


def test_an_interrupted_evaluation_leaves_no_trace() -> None:
    b = bench()
    expected = [b.evaluator.evaluate(w) for w in (halves(b.graph), random_widths(b.graph, 0))]
    fresh = bench().evaluator
    calls = []

    def stop(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        calls.append(module)
        if len(calls) == 3:
            raise KeyboardInterrupt

    handle = next(fresh.build({}).children()).register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        fresh.evaluate(random_widths(b.graph, 0))
    handle.remove()
    assert [fresh.evaluate(w) for w in (halves(b.graph), random_widths(b.graph, 0))] == expected


class Viewing(nn.Module):
    """Its forward forbids channels-last activations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        return self.head(x.view(len(x), -1))


def test_a_model_that_cannot_run_channels_last_runs_as_it_is() -> None:
    model, x = Viewing().eval(), torch.randn(16, 3, 8, 8)
    graph = trace(model, x)
    images = SearchImages(model, [x])
    assert not images.channels_last and SearchImages(CASES["plain"].model(), [x]).channels_last
    order = {g.name: np.arange(g.size) for g in graph.prunable}
    evaluator = CandidateEvaluator(graph, model, calibrate(graph, model, [x]), order, KL(images), [x])
    assert evaluator.evaluate(halves(graph)).score < 0


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"calibration": None}, ArgumentError, "calibration must be given"),
        ({"order": {}}, ArgumentError, "is missing"),
        ({"order": "short"}, ArgumentError, "must be a permutation of 0..7"),
        ({"fit_inputs": []}, DataError, "must not be empty"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], error: type[Exception], words: str) -> None:
    b = bench()
    arguments = {
        "graph": b.graph,
        "model": b.model,
        "calibration": b.calibration,
        "order": b.order,
        "score": b.score,
        "fit_inputs": b.data,
    }
    if change == {"order": "short"}:
        name = next(g.name for g in b.graph.prunable if g.size == 8)
        change = {"order": {**b.order, name: np.zeros(8)}}
    with pytest.raises(error, match=words):
        CandidateEvaluator(**{**arguments, **change})


@pytest.mark.parametrize(
    ("widths", "words"),
    [
        ({"nowhere": 3}, "no group named"),
        ({"head.weight": 1}, "locked"),
        ({"a.weight": 0}, "must lie in 1..6, got 0"),
    ],
)
def test_bad_widths_are_refused(widths: dict[str, int], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        bench().evaluator.evaluate(widths)
