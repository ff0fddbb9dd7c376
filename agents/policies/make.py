"""From what an agent holds at the end of a search to a policy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.td3.policies import TD3Policy

from autoprune.agents.ddpg.settings import DDPGSettings
from autoprune.agents.policies.card import PolicyCard, Source
from autoprune.agents.policies.importance import no_importance
from autoprune.agents.policies.policy import Policy
from autoprune.agents.policies.similarity import group_features, source_of
from autoprune.envs.env import PruningEnv
from autoprune.task import Task

Shares = dict[str, tuple[float, float]]


def make_policy(
    networks: TD3Policy,
    envs: Sequence[PruningEnv],
    *,
    settings: DDPGSettings,
    rewards: NDArray[np.float64],
    before: Policy | None = None,
    importance: NDArray[np.float32] | None = None,
) -> Policy:
    """The policy of an agent that was trained on some environments.

    Args:
        networks: Actor and critic; copied.
        envs: At least one, of one observation set and with equal bounds of the keep ratio.
        settings: Of the agent.
        rewards: Of all real episodes, shape (k,).
        before: The policy that the agent began with; what it was learned on stays on the card.
        importance: Coefficients that the curves of `envs` are weighted with; by default those of `before`.
    """
    first, tasks = envs[0], [env.task for env in envs]
    groups, sources = _sources(tasks, before)
    known = () if before is None else before.card.budgets
    card = PolicyCard(
        observation=first.observation_set.name,
        observation_version=first.observation_set.version,
        features=first.observation.names,
        lower=float(first.task.lower),
        upper=float(first.task.upper),
        around_reference=settings.around_reference,
        reach=settings.reach,
        hidden=settings.hidden,
        budgets=tuple(dict.fromkeys([*known, *(str(task.budget) for task in tasks)])),
        shares=_shares(tasks, {} if before is None else before.card.shares),
        sources=sources,
        episodes=len(rewards) + (0 if before is None else before.card.episodes),
        score=float(rewards.max()) if len(rewards) else None,
    )
    if importance is None:
        importance = no_importance() if before is None else before.importance
    return Policy(networks, first.observation_set, card, groups, importance)


def _sources(tasks: Sequence[Task], before: Policy | None) -> tuple[NDArray[np.float32], tuple[Source, ...]]:
    """Every network once, with the features of its groups; of equal networks the newest counts."""
    found: dict[str, tuple[Source, NDArray[np.float32]]] = {}
    if before is not None:
        start = 0
        for source in before.card.sources:
            found[source.fingerprint] = source, before.groups[start : start + source.groups]
            start += source.groups
    for task in tasks:
        source = source_of(task)
        found[source.fingerprint] = source, group_features(task.graph)
    return np.concatenate([rows for _, rows in found.values()]), tuple(s for s, _ in found.values())


def _shares(tasks: Sequence[Task], known: Shares) -> Shares:
    found = dict(known)
    for task in tasks:
        for name, limit in task.budget.limits.items():
            share = min(float(limit / task.budget.dense[name]), 1.0)
            low, high = found.get(name, (share, share))
            found[name] = min(low, share), max(high, share)
    return found
