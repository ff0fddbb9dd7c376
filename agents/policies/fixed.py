"""A policy's zero-shot allocation, as an agent of one episode."""

from typing import Any, ClassVar

import gymnasium

from autoprune.agents.policies.policy import Policy
from autoprune.agents.proposing import ProposingAgent
from autoprune.budget.cost import Vector


class PolicyAgent(ProposingAgent):
    """What a policy decides for the network (`Policy.allocate`), once: zero-shot, as a search sees it.

    Args:
        env: The environment.
        seed: Not used.
        policy: Decides.
    """

    name: ClassVar[str] = "policy"

    def __init__(self, env: gymnasium.Env[Any, Any], *, seed: int = 0, policy: Policy) -> None:
        super().__init__(env, seed=seed)
        self._policy = policy

    @property
    def finished(self) -> bool:
        """After one episode."""
        return self.episodes > 0

    def propose(self, pending: Vector) -> Vector:
        """The policy's widths."""
        return self._policy.allocate(self.task)
