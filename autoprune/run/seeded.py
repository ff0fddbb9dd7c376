"""An agent that begins with a candidate that is known to be good."""

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium

from autoprune.agents import Agent, make_agent
from autoprune.agents.agent import Announce, State
from autoprune.agents.walk import Outcome, walk

_INNER = "inner."


class SeededAgent(Agent):
    """Plays given widths first, lowered to the budget by the wall, then leaves the episodes to another agent.

    Args:
        env: The environment.
        seed: Source of all randomness.
        agent: Name of the other agent.
        widths: Units that stay, by group name; missing groups are dense.
        **settings: Of the other agent.

    Raises:
        ArgumentError: An unknown agent, settings that it does not have, or widths out of range.
    """

    name: ClassVar[str] = "seeded"

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int = 0,
        agent: str,
        widths: Mapping[str, int],
        **settings: Any,
    ) -> None:
        super().__init__(env, seed=seed)
        self._inner = make_agent(agent, env, seed, **settings)
        self._first = self.task.clip(self.task.vector(widths))

    @property
    def finished(self) -> bool:
        """Whether the other agent is, once the given widths were played."""
        return self.episodes > 0 and self._inner.finished

    @property
    def policy(self) -> Any:
        """The other agent's policy, if it has one."""
        return getattr(self._inner, "policy", None)

    def look_ahead(self, count: int, announce: Announce) -> None:
        """As the other agent does it; the given widths come first, alone."""
        self._inner.look_ahead(count, announce)

    def _play(self) -> Outcome:
        if self.episodes == 0:
            return walk(self.env, self._first)
        episode = self._inner.run_episode()
        vector = self.task.vector(episode.widths)
        return Outcome(vector, episode.widths, episode.reward, episode.evaluation, episode.costs)

    def state_dict(self) -> State:
        """As of any agent, with the other agent's entries behind a prefix."""
        return super().state_dict() | {_INNER + key: v for key, v in self._inner.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As of any agent."""
        super().load_state_dict(state)
        inner = {key.removeprefix(_INNER): v for key, v in state.items() if key.startswith(_INNER)}
        self._inner.load_state_dict(inner)
