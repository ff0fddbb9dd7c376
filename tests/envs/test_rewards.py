from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.envs import Accuracy, AccuracyGuaranteed, CurveCredit, PruningEnv, make_reward
from autoprune.errors import ArgumentError
from tests.budget import graphs
from tests.envs.problems import Evaluation, Quadratic, make_task, random_task

EVALUATION = Evaluation(-0.3, {"kl": 0.3, "accuracy": 0.8, "loss": 1.0})
COSTS = {"macs": 1000, "params": 10}


@pytest.mark.parametrize(
    ("name", "expected"), [("kl", -0.3), ("accuracy", 0.8), ("accuracy_guaranteed", -0.2 * log(2000))]
)
def test_values(name: str, expected: float) -> None:
    assert make_reward(name)(EVALUATION, COSTS) == pytest.approx(expected)


def test_a_callable_is_taken_as_it_is() -> None:
    task = make_task(graphs.residual())
    env = PruningEnv(task, Quadratic(task), reward=lambda evaluation, costs: -costs["params"])
    env.reset()
    for _ in task.names:
        _, reward, _, _, info = env.step(np.array([0.0]))
    assert reward == info["reward"] == -task.graph.params(info["widths"])


def test_accuracy_guaranteed_prefers_the_smaller_of_equals_and_the_better_of_equal_size() -> None:
    reward = AccuracyGuaranteed()
    assert reward(EVALUATION, {"macs": 500}) > reward(EVALUATION, {"macs": 1000})
    better = Evaluation(0, {"accuracy": 0.9})
    assert reward(better, {"macs": 1000}) > reward(EVALUATION, {"macs": 1000})


def test_a_missing_metric_says_what_to_do() -> None:
    with pytest.raises(
        ArgumentError, match=r"needs the metric 'accuracy', but the evaluation has \['kl'\]; give labels"
    ):
        Accuracy()(Evaluation(0, {"kl": 1.0}), COSTS)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_credit_never_changes_the_return(seed: int, spare: float, noise: int) -> None:
    task = random_task(seed, spare)
    rng = np.random.default_rng(noise)
    weights = rng.normal(size=len(task.names))
    env = PruningEnv(task, Quadratic(task), credit=CurveCredit(task, weights))
    env.reset()
    rewards = []
    for _ in task.names:
        _, reward, _, _, info = env.step(rng.uniform(-1, 1, 1))
        rewards.append(reward)
    vector = task.vector(info["widths"])
    expected = -weights * task.errors(vector)
    assert rewards[:-1] == pytest.approx(expected[:-1])
    assert sum(rewards) == pytest.approx(info["reward"], abs=1e-12)
    assert info["reward"] == -info["evaluation"].metrics["kl"]
    assert rewards[-1] == pytest.approx(expected[-1] + info["reward"] - expected.sum(), abs=1e-12)


def test_a_credit_that_predicts_the_reward_leaves_nothing_for_the_end() -> None:
    task = make_task(graphs.residual())
    credit = CurveCredit(task, np.arange(1.0, 9.0))
    env = PruningEnv(
        task,
        lambda widths: Evaluation(0, {"kl": -float(credit.total(task.vector(widths)))}),
        credit=credit,
    )
    env.reset()
    for position in range(len(task.names)):
        _, reward, _, _, info = env.step(np.array([0.3]))
        error = task.errors_at(position, np.array(info["width"]))
        assert reward == pytest.approx(-(position + 1) * error, abs=1e-12)


def test_weights_can_be_set_between_and_within_episodes() -> None:
    task = make_task(graphs.residual())
    credit = CurveCredit(task)
    assert credit.weights.tolist() == [1.0] * 8
    env = PruningEnv(task, Quadratic(task), credit=credit)
    for _ in range(2):
        env.reset()
        total = 0.0
        for position in range(len(task.names)):
            credit.weights = np.full(8, position + 2.0)
            _, reward, _, _, info = env.step(np.array([0.1]))
            total += reward
        assert total == pytest.approx(info["reward"], abs=1e-12)


def test_weights_are_copied_and_checked() -> None:
    task = make_task(graphs.residual())
    given_weights = np.ones(8)
    credit = CurveCredit(task, given_weights)
    given_weights[:] = 5
    assert credit.weights.tolist() == [1.0] * 8
    for bad in (np.ones(7), np.full(8, np.nan)):
        with pytest.raises(ArgumentError, match="weights must be 8 finite numbers"):
            credit.weights = bad
