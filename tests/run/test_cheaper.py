"""Searches whose candidates are raced, or scored in lower precision."""

from pathlib import Path
from typing import Any

import pytest
import torch

import autoprune
from autoprune.agents import Episode
from autoprune.allocation import uniform
from autoprune.budget import Budget
from autoprune.data import DataSplits
from autoprune.errors import ArgumentError, ModelError
from autoprune.run.config import make_settings
from autoprune.run.directory import RunDirectory
from autoprune.run.finish import _check_recorded
from autoprune.run.history import from_row, to_row
from autoprune.run.problem import pose, take_subject
from autoprune.run.recorder import Recorder
from autoprune.score import KL, Evaluation, Raced, SearchImages
from tests.api.problem import QUICK, network, tensors

EXAMPLE = torch.zeros(1, 1, 8, 8)
BUDGET = "macs=50%"
IMAGES = 300
RACED: dict[str, Any] = {"racing": True, "precision": "bfloat16"}


def batches(count: int, seed: int) -> list[Any]:
    """The classes come one after the other."""
    images, labels = tensors(count, seed)
    order = labels.argsort()
    return [(images[part], labels[part]) for part in order.split(40)]


def data() -> DataSplits:
    return DataSplits(train=batches(96, 1), search_val=batches(IMAGES, 2))


def search(**changes: Any) -> Any:
    return autoprune.search(network(), EXAMPLE, data(), BUDGET, **QUICK | {"episodes": 12} | changes)


def essence(result: Any) -> list[Any]:
    return [(e.number, e.widths, e.reward, e.evaluation) for e in result.history]


def counts(result: Any) -> list[float]:
    return [e.evaluation.metrics["images"] for e in result.history]


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return search(run_dir=tmp_path_factory.mktemp("raced") / "run", racing=True)


@pytest.fixture(scope="module")
def plain() -> Any:
    return search()


def test_some_candidates_are_stopped_and_all_are_as_without_a_race(raced: Any, plain: Any) -> None:
    assert set(counts(raced)) >= {64.0, float(IMAGES)} and max(counts(raced)) == IMAGES
    assert [e.widths for e in raced.history] == [e.widths for e in plain.history]
    reference = raced.baselines["uniform"].evaluation.score
    for one, other in zip(raced.history, plain.history, strict=True):
        if one.evaluation.metrics["images"] == IMAGES:
            assert one.evaluation.score == pytest.approx(other.evaluation.score, rel=1e-4)
        else:
            assert one.evaluation.score < reference and other.evaluation.score < reference
            assert one.evaluation.score == pytest.approx(other.evaluation.score, rel=0.5)


def test_the_result_is_scored_on_all_images(raced: Any, plain: Any) -> None:
    assert raced.best.evaluation.metrics["images"] == IMAGES
    assert raced.plan.widths == plain.plan.widths
    for one, other in ((raced.found, plain.found), (raced.dense, plain.dense)):
        assert set(one.evaluation.metrics) == {"kl", "accuracy", "loss"}
        assert one.evaluation.metrics == pytest.approx(other.evaluation.metrics, rel=1e-4, abs=1e-9)
    for name, measured in raced.baselines.items():
        assert measured.evaluation.score == pytest.approx(plain.baselines[name].evaluation.score, rel=1e-4)
        assert "images" not in measured.evaluation.metrics
    assert all("images" not in e.evaluation.metrics for e in plain.history)


def test_the_value_depends_on_the_widths_alone(raced: Any) -> None:
    assert essence(search(racing=True)) == essence(raced)
    assert essence(search(racing=True, workers=2)) == essence(raced)


@pytest.mark.parametrize("settings", [{"racing": True}, RACED, {"precision": "bfloat16"}])
def test_a_resumed_search_goes_on_as_it_began(settings: dict[str, Any], tmp_path: Path) -> None:
    whole = search(agent="surrogate", episodes=8, **settings)
    search(agent="surrogate", episodes=4, run_dir=tmp_path / "run", **settings)
    recorded = RunDirectory(tmp_path / "run").read_config().settings
    assert {name: getattr(recorded, name) for name in settings} == settings
    again = autoprune.resume(tmp_path / "run", model=network(), data=data(), episodes=8)
    assert essence(again) == essence(whole)
    assert again.found.evaluation == whole.found.evaluation
    assert all(torch.equal(t, again.model.state_dict()[n]) for n, t in whole.model.state_dict().items())


def test_side_by_side_in_lower_precision() -> None:
    alone = search(**RACED)
    assert essence(search(workers=2, **RACED)) == essence(alone)


def test_by_actors_of_a_cluster() -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    settings: dict[str, Any] = RACED | {"episodes": 6, "workers": 2}
    assert essence(search(ray="local", **settings)) == essence(search(**settings))


def test_lower_precision_changes_the_scores_of_candidates_alone(plain: Any) -> None:
    lower = search(precision="bfloat16")
    assert [e.widths for e in lower.history] == [e.widths for e in plain.history]
    for one, other in zip(lower.history, plain.history, strict=True):
        assert one.evaluation != other.evaluation
        assert one.evaluation.score == pytest.approx(other.evaluation.score, rel=0.05, abs=0.01)
    assert lower.baselines["uniform"].evaluation == plain.baselines["uniform"].evaluation
    assert lower.dense.evaluation == plain.dense.evaluation
    assert {t.dtype for t in lower.model.parameters()} == {torch.float32}
    if lower.plan.widths == plain.plan.widths:
        assert lower.found.evaluation == plain.found.evaluation


def test_by_default_candidates_have_the_score_of_the_network() -> None:
    problem = posed()
    widths = {name: 5 for name in problem.task.names}
    images = SearchImages(network(), problem.subject.images.search)
    candidate = problem.evaluator.evaluate(widths)
    assert candidate == problem.evaluator.evaluate(widths, remembered=False, score=KL(images))
    assert candidate == problem.evaluator.evaluate(widths, score=problem.score)


def test_the_reference_is_the_uniform_allocation() -> None:
    problem = posed(racing=True)
    widths = problem.task.widths(uniform(problem.task))
    score: Any = problem.evaluator._score
    assert isinstance(score, Raced) and score.looks == (64, 100, 256)
    again = problem.evaluator.evaluate(widths)
    assert again.metrics["images"] == IMAGES
    assert again.metrics["kl"] == float(score._reference["kl"].mean())
    assert again.score == pytest.approx(problem.evaluator.evaluate(widths, score=problem.score).score)


def posed(**changes: Any) -> Any:
    settings = make_settings(
        budget=BUDGET, agent="random", episodes=1, criterion="l2", reward="kl", seed=0, device=None,
        round_to=1, lower=0.1, search_images=IMAGES, calibration_images=80, fit_images=48, baselines=(),
        **changes,
    )  # fmt: skip
    subject = take_subject(network(), EXAMPLE, data(), settings)
    return pose(subject, Budget.parse(BUDGET), settings, "l2", lambda name: None)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"precision": "int8"}, "precision: input should be 'float32', 'bfloat16' or 'float16', got 'int8'"),
        ({"precision": "float16"}, "precision must be float32 or bfloat16 on the device cpu, got 'float16'"),
        (
            {"racing": True, "reward": "accuracy_guaranteed"},
            "racing must be off .* got 'accuracy_guaranteed'",
        ),
        ({"racing": True, "max_drop": 2}, "racing must be off .* got 'max_drop=2'"),
        ({"racing": True, "reward": lambda evaluation, costs: 0.0}, "racing must be off unless"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(settings: dict[str, Any], words: str) -> None:
    stages: list[str] = []

    class Note(autoprune.Callback):
        def on_stage(self, stage: str) -> None:
            stages.append(stage)

    with pytest.raises(ArgumentError, match=words):
        search(callbacks=[Note()], **settings)
    assert not stages


def episode(number: int, reward: float, images: float) -> Episode:
    evaluation = Evaluation(reward, {"kl": -reward, "images": images})
    return Episode(number, {"a": 1}, reward, evaluation, {"macs": 1}, 0.1)


def test_a_stopped_candidate_is_the_best_only_where_there_is_no_other() -> None:
    mirror: Any = None
    recorder = Recorder(["a"], mirror, None, images=300)
    recorder.history = [episode(0, -0.4, 64), episode(1, -0.3, 128), episode(2, -0.35, 64)]
    assert recorder.best is recorder.history[1]
    recorder.history += [episode(3, -9.0, 300), episode(4, -0.2, 256)]
    assert recorder.best is recorder.history[3]
    recorder.history += [episode(5, -8.0, 300), episode(6, -8.0, 300)]
    assert recorder.best is recorder.history[5]


def test_a_search_that_finds_only_hopeless_candidates_ends_well() -> None:
    result = search(agent="random", episodes=1, seed=HOPELESS, racing=True)
    assert result.best.evaluation.metrics["images"] < IMAGES
    assert set(result.found.evaluation.metrics) == {"kl", "accuracy", "loss"}


HOPELESS = 1
"""A seed whose first random candidate is stopped."""


def test_images_seen_are_kept_with_the_episode() -> None:
    one = episode(3, -0.5, 128)
    assert from_row(to_row(one, ["a"]), ["a"]) == one


def test_another_machine_may_stop_a_race_elsewhere() -> None:
    recorded, again = (episode(0, *pair).evaluation for pair in ((-0.5, 300), (-0.7, 64)))
    _check_recorded(again, recorded, 1e-3)
    _check_recorded(recorded, recorded, 0.0)
    for drift, other in ((0.0, again), (1e-3, episode(0, -0.6, 300).evaluation)):
        with pytest.raises(ModelError, match="must score -0.5 again"):
            _check_recorded(other, recorded, drift)
