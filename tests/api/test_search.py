import copy
import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import autoprune
from autoprune.agents import Agent, Episode, make_agent
from autoprune.errors import ModelError
from autoprune.run.result import SearchResult
from autoprune.score import Evaluation
from autoprune.score.images import TEMPERATURE
from tests.api.problem import BUDGET, QUICK, SmallNet, Untouchable, data, network, tensors

EXAMPLE = torch.zeros(1, 1, 8, 8)


def search(**changes: Any) -> SearchResult:
    arguments = (
        {"model": network(), "example_inputs": EXAMPLE, "data": data(), "budget": BUDGET} | QUICK | changes
    )
    return autoprune.search(**arguments)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "one"


@pytest.fixture(scope="module")
def result(run_dir: Path) -> SearchResult:
    return search(run_dir=run_dir)


def what(result: SearchResult) -> list[Any]:
    """All of the episodes but their wall time."""
    return [(e.number, e.widths, e.reward, e.evaluation, e.costs) for e in result.history]


def macs(model: torch.nn.Module, inputs: Any = EXAMPLE) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(inputs)
    return int(counter.get_total_flops()) // 2


def test_the_result_keeps_the_budget_and_is_an_ordinary_module(result: SearchResult) -> None:
    assert type(result.model) is SmallNet
    assert macs(result.model) <= macs(network()) // 2 == result.limits["macs"]
    assert macs(result.model) == result.found.costs["macs"] == result.plan.costs.found["macs"]
    params = sum(p.numel() for p in result.model.parameters())
    assert params == result.found.costs["params"] < result.dense.costs["params"]
    result.model(tensors(4, 3)[0]).sum().backward()


def test_the_history(result: SearchResult) -> None:
    assert [e.number for e in result.history] == list(range(5))
    assert result.best is max(result.history, key=lambda e: e.reward)
    assert {k: v for k, v in result.best.widths.items() if v < result.dense.widths[k]} == result.plan.widths
    assert not result.stopped
    assert all(e.costs["macs"] <= result.limits["macs"] for e in result.history)


def test_the_returned_model_has_the_score_that_is_claimed(result: SearchResult) -> None:
    images, labels = (torch.cat(parts) for parts in zip(*data().search_val, strict=True))
    with torch.no_grad():
        dense, found = network()(images).double(), result.model(images).double()
    softened, other = ((outputs / TEMPERATURE).log_softmax(1) for outputs in (dense, found))
    kl = TEMPERATURE**2 * (softened.exp() * (softened - other)).sum(1).mean().item()
    assert -kl == pytest.approx(result.found.evaluation.score, rel=1e-5)
    assert result.found.evaluation.score >= result.best.evaluation.score * (1 + 1e-3)
    accuracy = (found.argmax(1) == labels).double().mean().item()
    assert accuracy == pytest.approx(result.found.evaluation.metrics["accuracy"])
    assert result.dense.evaluation.score == 0


def test_the_summary(result: SearchResult) -> None:
    text = result.summary()
    rows = [line.split()[0] for line in text.splitlines()[2:7]]
    assert rows == ["dense", "uniform", "greedy", "best", "found"]
    assert [row.name for row in result.rows()] == rows
    assert "macs" in text and "params" in text and "accuracy" in text and "best of 5 episodes" in text
    assert f"{result.dense.costs['macs']:,} (100.0%)" in text
    for row in result.rows()[1:]:
        assert row.costs["macs"] <= result.limits["macs"]


def test_the_study_and_the_history_agree(result: SearchResult) -> None:
    trials = result.study.trials
    assert [t.user_attrs["episode"] for t in trials] == [e.number for e in result.history]
    assert [t.value for t in trials] == [e.evaluation.score for e in result.history]
    assert [t.user_attrs["widths"] for t in trials] == [e.widths for e in result.history]
    assert result.study.best_trial.user_attrs["episode"] == result.best.number
    assert list(trials[0].params) == list(result.best.widths)


def test_the_run_directory(result: SearchResult, run_dir: Path) -> None:
    names = {p.name for p in run_dir.iterdir()}
    assert {"config.json", "checkpoint", "optuna.journal", "pruned", "summary.txt"} <= names
    assert (run_dir / "summary.txt").read_text() == result.summary() + "\n"
    loaded = autoprune.load(run_dir / "pruned", SmallNet().eval())
    images = tensors(5, 4)[0]
    assert torch.equal(loaded(images), result.model(images))
    assert autoprune.Plan.load(run_dir / "pruned" / "plan.json") == result.plan


def test_the_same_seed_gives_the_same_search(result: SearchResult) -> None:
    again = search()
    assert what(again) == what(result)
    assert again.plan.groups == result.plan.groups
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, result.model.state_dict()[name]), name
    assert what(search(seed=1)) != what(result)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = network()
    model.norm1.train()  # type: ignore[operator, union-attr]
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    state = torch.get_rng_state()
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    result = search(model=model, episodes=2)
    assert not list(tmp_path.iterdir()) and result.run_dir is None
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert [m.training for m in model.modules()] == modes == [m.training for m in result.model.modules()]
    assert torch.equal(torch.get_rng_state(), state)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert len(result.study.trials) == 2


def test_example_inputs_from_the_data() -> None:
    assert search(example_inputs=None, episodes=1).limits == search(episodes=1).limits


class Guarded:
    """Not even the attribute may be looked at."""

    train, search_val = data().train, data().search_val

    @property
    def test(self) -> Any:
        raise AssertionError("the test set was touched")


def test_the_test_set_is_never_touched(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="touched"):
        list(Untouchable())
    assert len(search(data=Guarded(), run_dir=tmp_path / "run", episodes=1).history) == 1
    assert len(autoprune.resume(tmp_path / "run", model=network(), data=Guarded(), episodes=2).history) == 2


class Mine(NamedTuple):
    train: list[Any]
    search_val: list[Any]
    test: Any


@pytest.mark.parametrize("form", ["tensors", "pairs", "dicts"])
def test_other_forms_of_data(form: str) -> None:
    def batches(seed: int) -> list[Any]:
        images, labels = tensors(60, seed)
        return {"tensors": [images], "pairs": [(images, labels)], "dicts": [{"x": images, "label": labels}]}[
            form
        ]

    result = search(data=Mine(batches(1), batches(2), Untouchable()), episodes=2)
    assert ("accuracy" in result.found.evaluation.metrics) == (form != "tensors")
    assert ("accuracy" in result.summary()) == (form != "tensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": "params=60%"},
        {"budget": autoprune.Budget.parse("macs=70%,params=500"), "round_to": 2, "lower": 0.25},
        {"reward": "accuracy", "criterion": "l1"},
        {"reward": "accuracy_guaranteed", "budget": "macs=100%", "criterion": "random"},
        {"reward": lambda evaluation, costs: evaluation.metrics["accuracy"] - costs["params"] * 1e-4},
        {"agent": "uniform"},
        {"agent": "greedy", "baselines": ()},
        {"agent": "cmaes"},
    ],
    ids=lambda settings: ", ".join(f"{k}={'callable' if callable(v) else v}" for k, v in settings.items()),
)
def test_settings(changes: dict[str, Any]) -> None:
    result = search(**{"episodes": 2} | changes)
    assert len(result.history) == (1 if changes.get("agent") in ("uniform", "greedy") else 2)
    assert all(result.found.costs[name] <= limit for name, limit in result.limits.items())
    assert list(result.baselines) == list(changes.get("baselines", ("uniform", "greedy")))
    assert result.study.best_value == result.best.reward


def test_an_agent_of_ones_own() -> None:
    seen = []

    def factory(env: Any, *, seed: int, note: str) -> Agent:
        seen.append((seed, note))
        return make_agent("random", env, seed)

    assert len(search(agent=factory, agent_settings={"note": "mine"}, seed=3).history) == 5
    assert seen == [(3, "mine")]


def test_a_score_that_cannot_be_reproduced_is_an_error(tmp_path: Path) -> None:
    def lying(env: Any, *, seed: int) -> Any:
        agent = make_agent("random", env, seed)
        honest = agent.run_episode

        def run_episode() -> Episode:
            e = honest()
            evaluation = Evaluation(e.evaluation.score + 1e-15, e.evaluation.metrics)
            return Episode(e.number, e.widths, e.reward, evaluation, e.costs, e.seconds)

        agent.run_episode = run_episode  # type: ignore[method-assign]
        return agent

    with pytest.raises(ModelError, match="rebuilt from the original weights, must score"):
        search(agent=lying, run_dir=tmp_path / "run")
    assert not (tmp_path / "run" / "pruned").exists()


class Listener(autoprune.Callback):
    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.steps: dict[str, list[tuple[int, int]]] = {}

    def on_stage(self, stage: str) -> None:
        self.heard.append(stage)

    def on_step(self, done: int, total: int) -> None:
        self.steps.setdefault(self.heard[-1], []).append((done, total))

    def on_start(self, start: Any) -> None:
        self.heard.append(("start", start.done, start.episodes, start.groups, start.best))
        assert start.dense["macs"] == macs(network()) and start.limits["macs"] == start.dense["macs"] // 2

    def on_episode(self, episode: Any, best: Any) -> None:
        self.heard.append((episode.number, best.number))

    def on_end(self, result: SearchResult) -> None:
        self.heard.append(result)


def test_callbacks(tmp_path: Path, result: SearchResult) -> None:
    listener = Listener()
    end = search(callbacks=[listener], run_dir=tmp_path / "run")
    best = [max(result.history[: i + 1], key=lambda e: e.reward).number for i in range(5)]
    assert listener.heard == [
        *("trace", "calibrate", "rank", "baselines", "search"),
        ("start", 0, 5, len(result.best.widths), None),
        *enumerate(best),
        *("refit", "verify", "save"),
        end,
    ]
    images = QUICK["calibration_images"]
    read = listener.steps.pop("calibrate")
    assert read[0] == (0, images) and read[-1] == (images, images) and sorted(set(read)) == read
    assert listener.steps == {"baselines": [(0, 2), (1, 2)]}


class Stop(autoprune.Callback):
    def __init__(self, after: int, how: Any) -> None:
        self.after, self.how = after, how

    def on_episode(self, episode: Any, best: Any) -> None:
        if episode.number == self.after:
            self.how()


def interrupt() -> None:
    raise KeyboardInterrupt


def kill(number: signal.Signals) -> Any:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize("how", [interrupt, kill(signal.SIGINT), kill(signal.SIGTERM)])
def test_a_stop_finishes_with_the_best_so_far(how: Any, result: SearchResult, tmp_path: Path) -> None:
    stopped = search(callbacks=[Stop(1, how)], run_dir=tmp_path / "run")
    assert stopped.stopped and what(stopped) == what(result)[:2]
    assert stopped.best == max(stopped.history, key=lambda e: e.reward)
    assert "stopped after 2 episodes" in (tmp_path / "run" / "summary.txt").read_text()
    assert macs(stopped.model) <= stopped.limits["macs"]


def test_a_stop_within_an_episode_drops_it(result: SearchResult) -> None:
    def factory(env: Any, *, seed: int) -> Agent:
        agent = make_agent("random", env, seed)
        play = agent._play

        def interrupted() -> Any:
            if agent.episodes == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return play()

        agent._play = interrupted  # type: ignore[method-assign]
        return agent

    stopped = search(agent=factory)
    assert stopped.stopped and what(stopped) == what(result)[:3]


def test_a_stop_before_the_first_episode_has_no_result() -> None:
    class AtOnce(autoprune.Callback):
        def on_stage(self, stage: str) -> None:
            if stage == "search":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(callbacks=[AtOnce()])
