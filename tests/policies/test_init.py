"""Searches that begin with a policy: few-shot."""

import logging
from typing import Any

import numpy as np
import pytest
import torch

from autoprune.agents import DDPGAgent, Policy
from autoprune.allocation import greedy
from autoprune.errors import ArgumentError
from tests.agents.kinds import equal, essence, play
from tests.agents.problem import make_env, make_task
from tests.policies.made import SMALL, agent, policy, with_replay


def begun(given: Policy, blocks: int = 3, **changes: Any) -> DDPGAgent:
    small = {name: value for name, value in SMALL.items() if name != "hidden"}
    return DDPGAgent(make_env(make_task(blocks)), init_policy=given, **small | changes)


def far(given: Policy) -> Policy:
    """The same policy with other actions, so that it differs from greedy for sure."""
    state = {name: tensor * 10 for name, tensor in given.tensors.items()}
    made = begun(given)
    made._algorithm.begin_with(state, 0)
    return made.policy


def test_actor_and_critic_go_on() -> None:
    given = policy()
    made = begun(given, blocks=2)
    assert all(torch.equal(tensor, given.tensors[name]) for name, tensor in made.policy.tensors.items())
    networks = made._algorithm.policy
    for part in ("actor", "critic"):
        mine, target = getattr(networks, part).state_dict(), getattr(networks, f"{part}_target").state_dict()
        assert all(torch.equal(mine[name], target[name]) for name in mine)
    play(made, 3)
    assert not all(torch.equal(tensor, given.tensors[name]) for name, tensor in made.policy.tensors.items())


def test_on_another_network_the_actor_begins_at_the_reference() -> None:
    given = policy()
    made = begun(given, blocks=3)
    tensors = made.policy.tensors
    changed = {name for name, tensor in tensors.items() if not torch.equal(tensor, given.tensors[name])}
    assert changed == {"actor.mu.4.weight", "actor.mu.4.bias"}
    assert not any(tensors[name].any() for name in changed)


def test_the_first_episodes_are_greedy_and_zero_shot() -> None:
    given = far(policy())
    made = begun(given)
    first, second, third = (made.task.vector(episode.widths) for episode in play(made, 3))
    assert np.array_equal(first, greedy(made.task))
    assert np.array_equal(second, given.allocate(made.task))
    assert not np.array_equal(second, first)
    assert not np.array_equal(third, second)


def test_zero_shot_is_left_out_where_it_is_greedy() -> None:
    given = policy()
    made = begun(given)
    made._inherited.vector = greedy(made.task)  # type: ignore[union-attr]
    assert len({tuple(episode.widths.values()) for episode in play(made, 3)}) == 3


def test_the_noise_is_scaled_where_the_network_is_known() -> None:
    given = policy()
    assert begun(given, blocks=2).sigma == 0.5 * DDPGAgent(make_env(), **SMALL).sigma
    assert begun(given, blocks=2, init_noise=1.0).sigma == 0.3
    assert begun(given, blocks=2, init_noise=0.0).sigma == 0.1, "the floor stays"
    assert begun(given, blocks=3).sigma == DDPGAgent(make_env(), **SMALL).sigma


def test_no_warmup() -> None:
    given = policy(variant="amc", warmup=0)
    made = begun(given, variant="amc", warmup=50)
    assert made.settings.warmup == 0
    (first,) = play(made, 1)
    assert first.widths == made.task.widths(given.allocate(made.task))


@pytest.mark.parametrize("freeze", [0, 1, 2])
def test_frozen_layers_stay(freeze: int) -> None:
    given = policy()
    made = begun(given, freeze=freeze)
    play(made, 4)
    for part, stack in (("actor", "mu"), ("critic", "qf0")):
        for layer in range(3):
            name = f"{part}.{stack}.{2 * layer}.weight"
            same = torch.equal(made.policy.tensors[name], given.tensors[name])
            assert same == (layer < freeze), name


def test_a_replay_is_learned_from() -> None:
    given = far(policy()).with_replay(with_replay().replay)
    plain, seeded = (play(begun(p), 4) for p in (given.with_replay(None), given))
    assert essence(plain[:2]) == essence(seeded[:2])
    assert essence(plain) != essence(seeded)
    assert essence(play(begun(given, replay_steps=0), 4)) == essence(plain)


@pytest.mark.parametrize("make", [policy, with_replay, lambda: far(policy())])
@pytest.mark.parametrize("interrupted", [0, 1, 3])
def test_interrupted_and_resumed_is_uninterrupted(make: Any, interrupted: int) -> None:
    given = make()
    whole, first, second = (begun(given, freeze=1) for _ in range(3))
    expected = play(whole, 7)
    play(first, interrupted)
    second.load_state_dict(first.state_dict())
    assert essence(play(second, 7 - interrupted)) == essence(expected[interrupted:])
    mine, theirs = second.state_dict(), whole.state_dict()
    assert [key for key in mine if not equal(mine[key], theirs[key])] == []


def test_the_card_keeps_its_ancestors() -> None:
    made = begun(policy())
    play(made, 2)
    card = made.policy.card
    assert [source.groups for source in card.sources] == [6, 9]
    assert card.episodes == 5
    assert made.policy.groups.shape[0] == 15
    again = begun(made.policy)
    play(again, 1)
    assert [source.groups for source in again.policy.card.sources] == [6, 9], "a network is named once"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": (32,)}, "hidden must be that of the given policy"),
        ({"around_reference": False}, "around_reference must be that of the given policy"),
        ({"freeze": 3}, "freeze must leave the last layer free"),
        ({"freeze": -1}, "freeze must be an integer of at least 0"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        begun(policy(), **changes)


def test_other_actions_or_observations_are_refused() -> None:
    with pytest.raises(ArgumentError, match="lower and upper must be those of the given policy, 0.1 and 1"):
        DDPGAgent(make_env(make_task(2, lower=0.2)), init_policy=policy(), **SMALL)
    with pytest.raises(ArgumentError, match="must go with the observation set 'amc' version 1"):
        DDPGAgent(make_env(observation="amc"), init_policy=policy(variant="amc"), variant="amc", **SMALL)
    with pytest.raises(ArgumentError, match="init_policy must be an autoprune.Policy"):
        DDPGAgent(make_env(), init_policy="x", **SMALL)  # type: ignore[arg-type]


def test_a_budget_outside_what_was_learned_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        DDPGAgent(make_env(make_task(budget="macs=80%")), init_policy=policy(), **SMALL)
    assert "the policy was learned for macs" in caplog.text


def test_an_agent_without_a_policy_is_as_before() -> None:
    assert agent().sigma == pytest.approx(0.3 * 0.99**3)
