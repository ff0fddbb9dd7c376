"""Actor and critic without an environment."""

from collections.abc import Mapping

import numpy as np
from gymnasium.spaces import Box
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor

from autoprune.agents.ddpg.actor import OffsetPolicy
from autoprune.agents.ddpg.storage import module_state, nested, prefixed
from autoprune.agents.policies.card import PolicyCard
from autoprune.agents.randomness import local_torch

PARTS = ("actor", "critic")


def make_networks(card: PolicyCard) -> TD3Policy:
    """Networks of the shapes that the card names, with weights that do not matter."""
    seen = Box(-1.0, 1.0, (len(card.features),), np.float32)
    actions = Box(-1.0, 1.0, (1,), np.float32)
    layers = {"net_arch": list(card.hidden), "n_critics": 1}
    with local_torch(0):
        if not card.around_reference:
            return TD3Policy(seen, actions, _no_rate, **layers)  # type: ignore[arg-type]
        reference = card.features.index("reference")
        return OffsetPolicy(seen, actions, _no_rate, reference=reference, reach=card.reach, **layers)


def weights_of(networks: TD3Policy) -> dict[str, Tensor]:
    """A copy of the weights of actor and critic."""
    found: dict[str, Tensor] = {}
    for part in PARTS:
        found |= prefixed(module_state(getattr(networks, part)), part)
    return found


def load_weights(networks: TD3Policy, weights: Mapping[str, Tensor]) -> None:
    """Set actor and critic, and their targets to the same."""
    for part in PARTS:
        state = nested(weights, part)
        getattr(networks, part).load_state_dict(state)
        getattr(networks, f"{part}_target").load_state_dict(state)


def _no_rate(progress: float) -> float:
    return 0.0
