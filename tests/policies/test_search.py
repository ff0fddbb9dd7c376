"""Policies through the Python interface: search, resume, learn."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoprune.agents import Policy
from autoprune.errors import ArgumentError, BudgetError, RunError
from autoprune.run.learn import Lesson, learn_policy
from autoprune.run.result import SearchResult
from tests.api.problem import data, network
from tests.api.runs import DDPG, EXAMPLE, StopAfter, resume, same_network, search, what

SETTINGS: dict[str, Any] = {"agent": "ddpg", "agent_settings": DDPG}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult]:
    path = tmp_path_factory.mktemp("source") / "run"
    return path, search(path, **SETTINGS, episodes=3)


@pytest.fixture(scope="module")
def undisturbed(source: tuple[Path, SearchResult]) -> SearchResult:
    return search(None, **SETTINGS, init_policy=source[0])


def test_a_search_leaves_its_policy_behind(source: tuple[Path, SearchResult]) -> None:
    path, result = source
    saved = Policy.load(path / "policy")
    assert saved.card.criterion == "obs" and saved.card.reward == "kl"
    assert saved.card.sources[0].name == "SmallNet"
    assert saved.card.score == result.best.reward
    assert saved.card.model_copy(update={"transitions": 0}) == result.policy.card
    assert saved.replay is not None and result.policy.replay is None


def test_interrupted_and_resumed_is_undisturbed(
    source: tuple[Path, SearchResult], undisturbed: SearchResult, tmp_path: Path
) -> None:
    given = Path(shutil.copytree(source[0], tmp_path / "source"))
    first = search(tmp_path / "run", **SETTINGS, init_policy=given, callbacks=[StopAfter(2)])
    shutil.rmtree(given)
    assert len(first.history) == 2
    result = resume(tmp_path / "run")
    assert what(result) == what(undisturbed)
    assert same_network(result, undisturbed)
    assert Policy.load(tmp_path / "run" / "policy").card.episodes == 3 + 5
    assert result.plan.info["init_policy"]


def test_the_policy_matters(source: tuple[Path, SearchResult], undisturbed: SearchResult) -> None:
    assert what(search(None, **SETTINGS)) != what(undisturbed)
    assert what(search(None, **SETTINGS, init_policy=source[1].policy)) != what(undisturbed), "no replay"


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_damaged_copy_is_named(damage: str, source: tuple[Path, SearchResult], tmp_path: Path) -> None:
    search(tmp_path / "run", **SETTINGS, init_policy=source[0], episodes=1)
    copy = tmp_path / "run" / "init_policy"
    if damage == "cut":
        content = (copy / "policy.safetensors").read_bytes()
        (copy / "policy.safetensors").write_bytes(content[:-8])
    else:
        shutil.rmtree(copy)
    if damage == "other":
        source[1].policy.save(copy)
    message = {"missing": "is missing", "cut": "policy.safetensors' is damaged", "other": "is not the policy"}
    with pytest.raises(RunError, match=message[damage]):
        resume(tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agent": "cmaes"}, "init_policy goes with agent='ddpg' alone"),
        ({"lower": 0.3}, "lower and upper must be those of the given policy"),
        ({"init_policy": 3}, "init_policy must be an autoprune.Policy or the folder of one, got int"),
        ({"init_policy": "nowhere"}, "nowhere/policy.json' cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: dict[str, Any], message: str, source: tuple[Path, SearchResult], tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=message):
        search(tmp_path / "run", **SETTINGS | {"init_policy": source[1].policy} | changes)
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_policy(tmp_path: Path) -> None:
    search(tmp_path / "run", agent="random", episodes=1)
    with pytest.raises(ArgumentError, match="holds no policy"):
        search(None, **SETTINGS, init_policy=tmp_path / "run")


SMALL: dict[str, Any] = {"agent_settings": DDPG, "calibration_images": 80, "fit_images": 48}


def test_learning_several_budgets() -> None:
    seen: list[Any] = []
    lesson = Lesson(network(), EXAMPLE, data(), ("macs=40%", "macs=70%"))
    policy = learn_policy([lesson], episodes=4, **SMALL, on_episode=seen.append)
    assert [episode.number for episode in seen] == [0, 1, 2, 3]
    assert policy.card.budgets == ("macs=40%", "macs=70%")
    assert policy.card.criterion == "obs" and policy.card.reach == 1.0
    plan = policy.plan(network(), EXAMPLE, data(), "macs=55%", calibration_images=80)
    assert plan.costs.found["macs"] <= 0.55 * plan.costs.dense["macs"]
    again = learn_policy([lesson], episodes=4, **SMALL)
    assert all(np.array_equal(tensor, again.tensors[name]) for name, tensor in policy.tensors.items())


@pytest.mark.parametrize(
    ("budgets", "error", "message"),
    [
        ((), ArgumentError, "budgets of a lesson must be a sequence"),
        ("macs=50%", ArgumentError, "budgets of a lesson must be a sequence"),
        (("macs=50%", "params=50%"), ArgumentError, "must limit the same costs"),
        (("macs=0.1%",), BudgetError, "cannot be met"),
    ],
)
def test_bad_lessons(budgets: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        learn_policy([Lesson(network(), EXAMPLE, data(), budgets)], **SMALL)


def test_no_lessons() -> None:
    with pytest.raises(ArgumentError, match="at least one network"):
        learn_policy([])
