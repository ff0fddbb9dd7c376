"""Pulls the actor towards the best candidates known."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

_RATE = 1e-3


class Imitation:
    """Behavior cloning of chosen episodes (self-imitation, Oh et al. 2018, arXiv:1806.05635).

    Args:
        actor: Trained in place.

    Attributes:
        optimizer: Its own; the policy gradient keeps its moments.
    """

    def __init__(self, actor: nn.Module) -> None:
        self._actor = actor
        self.optimizer = torch.optim.Adam(actor.parameters(), lr=_RATE, fused=True)

    def __call__(self, observations: NDArray[np.float32], actions: NDArray[np.float32], steps: int) -> None:
        """Minimize the squared difference between the actor's and the given actions.

        Args:
            observations: Shape (m, features).
            actions: Shape (m,).
            steps: Updates with all of them.
        """
        seen, wanted = torch.from_numpy(observations), torch.from_numpy(actions)[:, None]
        for _ in range(steps):
            loss = F.mse_loss(self._actor(seen), wanted)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
