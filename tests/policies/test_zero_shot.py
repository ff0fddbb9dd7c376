"""A policy decides for networks and budgets that it has never seen."""

import logging
from typing import Any

import numpy as np
import pytest
import torch

import autoprune
from autoprune.agents import PolicyAgent
from autoprune.agents.policies.similarity import COMPARED, FAR, group_features, likeness
from autoprune.errors import ArgumentError, BudgetError
from tests.agents.problem import Hidden, make_env, make_task
from tests.policies.made import EXAMPLE, Dense, batches, network, policy

QUICK: dict[str, Any] = {"calibration_images": 40}


@pytest.fixture(scope="module")
def learned() -> Any:
    return policy()


@pytest.mark.parametrize("widths", [(8, 12), (6,), (16, 24, 16), (8, 8, 8, 8)])
@pytest.mark.parametrize("budget", ["macs=70%", "macs=40%,params=60%"])
def test_other_depths_widths_and_budgets(learned: Any, widths: tuple[int, ...], budget: str) -> None:
    model = network(*widths)
    plan = learned.plan(model, EXAMPLE, batches(), budget, **QUICK)
    small = autoprune.apply(model, plan)
    graph = autoprune.trace(model, EXAMPLE)
    for limit in budget.split(","):
        name, share = limit.removesuffix("%").split("=")
        assert plan.costs.found[name] <= float(share) / 100 * plan.costs.dense[name]
    assert sum(p.numel() for p in small.parameters()) == graph.params(plan.widths)
    assert plan.info["agent"] == "policy" and plan.info["distance"] >= 0


def test_it_is_the_roll_out_and_deterministic(learned: Any) -> None:
    model = network()
    first = learned.plan(model, EXAMPLE, batches(), "macs=50%", **QUICK)
    torch.manual_seed(99)
    np.random.seed(99)
    assert learned.plan(model, EXAMPLE, batches(), "macs=50%", **QUICK) == first
    assert learned.plan(model, EXAMPLE, batches(), "macs=50%", **QUICK, seed=1).info["seed"] == 1


def test_a_calibration_does_as_well_as_data(learned: Any) -> None:
    model = network()
    graph = autoprune.trace(model, EXAMPLE)
    calibration = autoprune.calibrate(graph, model, batches())
    from_data = learned.plan(model, EXAMPLE, batches(), "macs=50%", calibration_images=48)
    assert learned.plan(model, EXAMPLE, calibration, "macs=50%").widths == from_data.widths


def test_nothing_is_evaluated_and_nothing_changed(learned: Any) -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    learned.plan(model, EXAMPLE, batches(), "macs=50%", **QUICK)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    task = make_task(3)
    hidden = Hidden(task)
    learned.decide(task)
    assert hidden.asked == []


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        ({"exclude": ("body.0*",)}, lambda plan: "body.0.weight" not in plan.widths),
        ({"round_to": 4}, lambda plan: all(width % 4 == 0 for width in plan.widths.values())),
        ({"floor_units": 5}, lambda plan: all(width >= 5 for width in plan.widths.values())),
        ({"criterion": "l1"}, lambda plan: plan.info["criterion"] == "l1"),
    ],
)
def test_settings(learned: Any, settings: dict[str, Any], check: Any) -> None:
    assert check(learned.plan(network(), EXAMPLE, batches(), "macs=70%", **QUICK, **settings))


def test_what_cannot_be_is_refused(learned: Any) -> None:
    with pytest.raises(BudgetError, match="cannot be met"):
        learned.plan(network(), EXAMPLE, batches(), "macs=1%", **QUICK)
    with pytest.raises(ArgumentError, match="criterion must be given"):
        learned.described(criterion="custom:Mine").plan(network(), EXAMPLE, batches(), "macs=50%")
    with pytest.raises(ArgumentError, match="loader that can be read again"):
        learned.plan(network(), EXAMPLE, iter(batches()), "macs=50%", **QUICK)


def test_a_very_different_network_is_named(learned: Any, caplog: pytest.LogCaptureFixture) -> None:
    model = Dense().eval()
    with caplog.at_level(logging.WARNING):
        plan = learned.plan(model, torch.zeros(1, 64), [torch.randn(20, 64)], "macs=50%", **QUICK)
    assert plan.info["distance"] > FAR
    assert f"mean distance of {plan.info['distance']:.2f}" in caplog.text


def test_a_budget_outside_what_was_learned_is_named(learned: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        learned.plan(network(), EXAMPLE, batches(), "macs=50%", **QUICK)
        assert "was learned for" not in caplog.text
        learned.plan(network(), EXAMPLE, batches(), "macs=80%", **QUICK)
    assert "learned for macs from 50 to 50% of the dense network, not for 80%" in caplog.text


def test_likeness_against_plain_loops() -> None:
    rng = np.random.default_rng(0)
    new, known = rng.normal(size=(4, 3)), rng.normal(size=(6, 3))
    nearest = [min(float(np.sqrt(((a - b) ** 2).sum())) for b in known) for a in new]
    found = likeness("abcd", new, known)
    assert found.distance == pytest.approx(sum(nearest) / 4)
    assert found.furthest == "abcd"[int(np.argmax(nearest))]
    assert found.similarity == pytest.approx(np.exp(-sum(nearest) / 4))


def test_a_network_is_most_like_itself() -> None:
    made = policy()
    own, deeper, other = (make_task(blocks) for blocks in (2, 5, 9))
    distances = [made.likeness(task).distance for task in (own, deeper, other)]
    assert distances[0] < 1e-6
    assert 0 < distances[1] < distances[2] < FAR
    assert made.likeness(own).similarity == pytest.approx(1)
    assert "100% similar" in str(made.likeness(own))


def test_features_do_not_depend_on_the_allowed_widths() -> None:
    tight, loose = make_task(3), make_task(3, budget="macs=100%", lower=0.0)
    assert group_features(tight.graph).shape == (9, len(COMPARED))
    assert np.array_equal(group_features(tight.graph), group_features(loose.graph))


def test_as_an_agent_it_plays_its_decision_once() -> None:
    made, env = policy(), make_env(make_task(3))
    agent = PolicyAgent(env, policy=made)
    assert agent.run_episode().widths == env.task.widths(made.allocate(env.task))
    assert agent.finished
