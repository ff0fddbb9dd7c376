"""Agents that choose a whole candidate before the episode begins."""

from abc import abstractmethod

from autoprune.agents.agent import Agent
from autoprune.agents.walk import Outcome, walk
from autoprune.budget.cost import Vector


class ProposingAgent(Agent):
    """Plays the candidate that `propose` names, step by step, and hands the outcome to `learn`."""

    @abstractmethod
    def propose(self) -> Vector:
        """The widths to be tried next, shape (n,)."""

    def learn(self, outcome: Outcome) -> None:
        """Take note of what the candidate was worth."""

    def _play(self) -> Outcome:
        outcome = walk(self.env, self.propose())
        self.learn(outcome)
        return outcome
