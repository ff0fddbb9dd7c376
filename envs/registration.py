"""Makes the environment known to Gymnasium."""

import gymnasium

ID = "autoprune/Pruning-v0"


def register_envs() -> None:
    """Register `autoprune/Pruning-v0`, once; `gymnasium.make(ID, task=..., evaluate=...)` builds it."""
    if ID not in gymnasium.registry:
        gymnasium.register(id=ID, entry_point="autoprune.envs.env:PruningEnv")
