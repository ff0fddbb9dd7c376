"""An actor that decides relative to a reference action."""

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.td3.policies import Actor, TD3Policy
from torch import Tensor, nn

_FIRST_SCALE = 0.03


class OffsetActor(Actor):
    """Maps an observation to an action around the reference action that the observation holds.

    With the network's output f in (-1, 1) the action is `r + f * (1 - r)` above the reference r and
    `r + f * (r + 1)` below it: always in [-1, 1], and the reference itself at f = 0, where the network starts
    (residual policy learning, Silver et al. 2018, arXiv:1812.06298). A `reach` below 1 keeps it near the
    reference: f is multiplied by it.
    """

    reference: int = 0
    reach: float = 1.0

    def forward(self, obs: Tensor) -> Tensor:
        """Actions of shape (b, 1)."""
        offset = super().forward(obs) * self.reach
        reference = obs[:, self.reference : self.reference + 1]
        room = torch.where(offset > 0, 1 - reference, 1 + reference)
        return reference + offset * room


class OffsetPolicy(TD3Policy):
    """A TD3 policy whose actors are `OffsetActor`s.

    Args:
        observation_space: As in stable-baselines3.
        action_space: As in stable-baselines3.
        lr_schedule: As in stable-baselines3.
        reference: Position of the reference action in the observation.
        reach: How far from the reference an action may be, as a share of the room on either side.
        **kwargs: As in stable-baselines3.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Any,
        *,
        reference: int,
        reach: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self._reference, self._reach = reference, reach
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        """An actor that starts close to the reference."""
        actor = OffsetActor(**self._update_features_extractor(self.actor_kwargs, features_extractor))
        actor.reference, actor.reach = self._reference, self._reach
        last = [layer for layer in actor.mu if isinstance(layer, nn.Linear)][-1]
        with torch.no_grad():
            last.weight.mul_(_FIRST_SCALE)
            last.bias.zero_()
        return actor.to(self.device)
