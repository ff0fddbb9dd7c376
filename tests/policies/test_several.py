"""One policy over several networks and budgets."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoprune.agents import Policy
from autoprune.agents.ddpg.several import Course, SeveralAgent
from autoprune.agents.policies.importance import (
    FEATURES,
    fit_importance,
    importance_of,
    no_importance,
    weighted,
)
from autoprune.allocation import greedy
from autoprune.budget import Budget
from autoprune.envs import DefaultObservation, PruningEnv
from autoprune.envs.blurred import Blurred
from autoprune.envs.observation import State
from autoprune.envs.static import NAMES
from autoprune.errors import ArgumentError
from autoprune.score import Evaluation
from autoprune.task import Task
from tests.agents.problem import make_task
from tests.policies.made import SMALL


class Known:
    """A loss whose weights follow from what the groups are: late groups weigh more, by a factor of 20."""

    def __init__(self, task: Task) -> None:
        self.task, self.asked = task, 0
        self.weights = np.exp(3 * np.linspace(0, 1, len(task.names)))

    def __call__(self, widths: Any) -> Evaluation:
        self.asked += 1
        loss = float(self.weights @ self.task.errors(self.task.vector(widths))) + 1e-3
        return Evaluation(-loss, {"kl": loss})


def task_of(blocks: int, budget: int, seed: int = 0) -> Task:
    return make_task(blocks, seed, f"macs={budget}%")


def course(blocks: int, seed: int = 0) -> Course:
    evaluate = Known(task_of(blocks, 50, seed))
    envs = [PruningEnv(task_of(blocks, b, seed), evaluate) for b in (30, 50, 70)]
    return Course(tuple(envs[:2]), tuple(envs[2:]))


def learned(episodes: int, seed: int = 0) -> Policy:
    agent = SeveralAgent([course(2), course(3, 1)], seed=seed, **SMALL)
    for _ in range(episodes):
        agent.run_episode()
    agent.settle(1)
    return agent.policy


def test_networks_and_budgets_take_turns_from_greedy() -> None:
    agent = SeveralAgent([course(2), course(3, 1)], **SMALL)
    played = [agent.run_episode() for _ in range(8)]
    assert [len(e.widths) for e in played[:4]] == [6, 9, 6, 9]
    for number, (blocks, budget, seed) in enumerate([(2, 30, 0), (3, 30, 1), (2, 50, 0), (3, 50, 1)]):
        task = task_of(blocks, budget, seed)
        assert played[number].widths == task.widths(greedy(task))
    for number, episode in enumerate(played):
        task = task_of(2 + number % 2, (30, 50)[number // 2 % 2], number % 2)
        assert task.budget.holds(task.vector(episode.widths))
        assert episode.number == number


def test_settling_evaluates_nothing() -> None:
    courses = [course(2), course(3, 1)]
    agent = SeveralAgent(courses, **SMALL)
    for _ in range(12):
        agent.run_episode()
    evaluates = [c.real[0].spec.kwargs["evaluate"] for c in courses]  # type: ignore[union-attr]
    assert [evaluate.asked for evaluate in evaluates] == [6, 6]
    agent.settle(1)
    assert agent.policy.importance.any()
    assert [evaluate.asked for evaluate in evaluates] == [6, 6]
    with pytest.raises(ArgumentError, match="must have an episode"):
        SeveralAgent([course(2)], **SMALL).settle()


def test_the_same_seed_gives_the_same_policy() -> None:
    first, second, other = (learned(6, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(t, second.tensors[n]) for n, t in first.tensors.items())
    assert np.array_equal(first.importance, second.importance)
    assert not all(np.array_equal(t, other.tensors[n]) for n, t in first.tensors.items())


def test_the_card_names_all_networks_and_budgets(policy: Policy) -> None:
    card = policy.card
    assert [source.groups for source in card.sources] == [6, 9]
    assert card.budgets == ("macs=30%", "macs=50%")
    assert card.shares["macs"] == (pytest.approx(0.3, abs=1e-4), pytest.approx(0.5, abs=1e-4))
    assert card.episodes == 20


@pytest.mark.parametrize("blocks", [1, 4, 9])
@pytest.mark.parametrize("budget", [35, 50, 65])
def test_what_was_learned_moves_to_other_networks(blocks: int, budget: int, policy: Policy) -> None:
    """Better than greedy, which does not know that late groups weigh more, and kept within the budget."""
    task = task_of(blocks, budget, seed=7)
    score = Known(task)
    found = policy.allocate(task)
    assert task.budget.holds(found)
    assert score(task.widths(found)).score > score(task.widths(greedy(task))).score


@pytest.fixture(scope="module")
def policy() -> Policy:
    return learned(20)


def test_a_saved_policy_keeps_its_importance(policy: Policy, tmp_path: Any) -> None:
    policy.save(tmp_path / "policy")
    loaded = Policy.load(tmp_path / "policy")
    task = task_of(4, 40, 3)
    assert np.array_equal(loaded.importance, policy.importance) and policy.importance.any()
    assert np.array_equal(loaded.allocate(task), policy.allocate(task))


def test_a_search_can_go_on_with_it(policy: Policy) -> None:
    from autoprune.agents import DDPGAgent

    task = task_of(4, 40, 3)
    env = PruningEnv(task, Known(task))
    small = {k: v for k, v in SMALL.items() if k != "hidden"}
    agent = DDPGAgent(env, init_policy=policy, **small)
    first, second = (agent.run_episode().widths for _ in range(2))
    assert first == task.widths(greedy(task))
    assert second == task.widths(policy.allocate(task))
    assert np.allclose(agent.task.errors(task.min_widths), policy.weighted(task).errors(task.min_widths))


def evaluated(blocks: int, seed: int, count: int = 60, *, turned: bool = False) -> tuple[Task, Any, Any]:
    task, rng = task_of(blocks, 50, seed), np.random.default_rng(seed)
    vectors = task.clip(task.from_ratio(rng.uniform(0.2, 1, (count, len(task.names)))))
    score = Known(task)
    score.weights = score.weights[::-1] if turned else score.weights
    return task, vectors, np.array([score(task.widths(v)).score for v in vectors])


def test_importance_is_found_where_features_tell() -> None:
    coefficients = fit_importance([evaluated(3, 0), evaluated(5, 1)])
    assert coefficients.shape == (len(FEATURES),) and coefficients.dtype == np.float32
    task = task_of(4, 50, 9)
    truth = np.log(Known(task).weights)
    assert np.corrcoef(np.log(importance_of(coefficients, task)), truth)[0, 1] > 0.9


def test_what_holds_in_one_network_alone_is_left_out() -> None:
    """Of a single network nobody can say what moves; where late groups weigh more in one and less in the
    other, nothing does."""
    assert not fit_importance([evaluated(5, 1)]).any()
    assert not fit_importance([evaluated(4, 0), evaluated(5, 1, turned=True)]).any()
    assert fit_importance([evaluated(4, 0), evaluated(5, 1), evaluated(3, 2)]).any()


@pytest.mark.parametrize(("blocks", "budget"), [(1, 50), (4, 35), (9, 65)])
def test_a_policy_of_one_network_is_greedy_elsewhere(blocks: int, budget: int) -> None:
    agent = SeveralAgent([course(3)], **SMALL)
    for _ in range(12):
        agent.run_episode()
    agent.settle(1)
    task = task_of(blocks, budget, seed=7)
    policy = agent.policy
    assert not policy.importance.any() and not policy.knows(task)
    assert np.array_equal(policy.decide(task), greedy(task))
    assert (policy.allocate(task) >= greedy(task)).all() and task.budget.holds(policy.allocate(task))
    own = task_of(3, budget, seed=7)
    assert policy.knows(own) and policy.card.reach == 1.0


def test_importance_scales_the_curves_and_nothing_else() -> None:
    task = task_of(3, 50)
    assert weighted(task, no_importance()) is task
    coefficients = np.ones(len(FEATURES), np.float32)
    factors = importance_of(coefficients, task)
    made = weighted(task, coefficients)
    vector = greedy(task)
    assert np.allclose(made.errors(vector), task.errors(vector) * factors)
    assert made.budget is task.budget and made.lower == task.lower
    assert np.abs(np.log(importance_of(100 * coefficients, task))).max() <= 2.0 + 1e-9


def test_blurred_features_are_those_of_the_set_with_noise_where_they_are_static() -> None:
    task, rng = task_of(3, 50), np.random.default_rng(0)
    clean = DefaultObservation().bind(task)
    noisy = Blurred(DefaultObservation(), 0.2, rng).bind(task)
    assert (noisy.names, noisy.space) == (clean.names, clean.space)
    state = State(2, np.repeat(task.max_widths[None], 4000, 0), np.ones(4000, np.float32))
    found, truth = noisy(state), clean(state)
    assert noisy.space.contains(found[0])
    inside = np.abs(truth[0]) < 0.2
    for i, name in enumerate(clean.names):
        if name not in NAMES:
            assert np.array_equal(found[:, i], truth[:, i])
        elif inside[i]:
            assert found[:, i].std() == pytest.approx(0.2, rel=0.1)
            assert found[:, i].mean() == pytest.approx(truth[0, i], abs=0.02)


@pytest.mark.parametrize(
    ("courses", "changes", "message"),
    [
        ([], {}, "courses must name at least one network"),
        ([course(2)], {"rounds": 0}, "rounds must be at least 1"),
        ([course(2)], {"reach": 2}, "reach must be a number of at least 0 and at most 1"),
    ],
)
def test_bad_arguments(courses: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        SeveralAgent(courses, **SMALL | changes)


def test_environments_must_be_alike() -> None:
    task = task_of(2, 50)
    bound = Budget.parse("macs=60%").bind(task.graph)
    envs = [PruningEnv(t, Known(task)) for t in (task, replace(task, budget=bound, lower=0.2))]
    with pytest.raises(ArgumentError, match="one observation set and equal bounds"):
        SeveralAgent([Course(tuple(envs))], **SMALL)
