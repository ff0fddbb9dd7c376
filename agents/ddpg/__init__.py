"""Deep deterministic policy gradient, with AMC's changes and free episodes inside a fitted surrogate."""

from autoprune.agents.ddpg.agent import DDPGAgent
from autoprune.agents.ddpg.settings import VARIANTS, DDPGSettings

__all__ = ["VARIANTS", "DDPGAgent", "DDPGSettings"]
