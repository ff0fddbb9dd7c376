"""Policies that move from one network to another: files, roll-outs, likeness, and a store."""

from autoprune.agents.policies.card import PolicyCard, Source
from autoprune.agents.policies.fixed import PolicyAgent
from autoprune.agents.policies.policy import Policy, Replay
from autoprune.agents.policies.similarity import Likeness
from autoprune.agents.policies.store import PolicyStore, Ranked

__all__ = ["Likeness", "Policy", "PolicyAgent", "PolicyCard", "PolicyStore", "Ranked", "Replay", "Source"]
