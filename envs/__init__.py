"""The pruning environment: groups are states, keep ratios are actions.

Importing this package registers `autoprune/Pruning-v0` with Gymnasium. `autoprune.envs.vector.PruningVecEnv`,
many episodes in lock step for stable-baselines3, is imported on its own.
"""

from autoprune.envs.amc import AMCObservation
from autoprune.envs.credit import Credit, CurveCredit
from autoprune.envs.env import PruningEnv
from autoprune.envs.features import DefaultObservation
from autoprune.envs.observation import BoundObservation, Observation, State, make_observation
from autoprune.envs.registration import register_envs
from autoprune.envs.rewards import KL, Accuracy, AccuracyGuaranteed, Reward, make_reward

__all__ = [
    "KL",
    "AMCObservation",
    "Accuracy",
    "AccuracyGuaranteed",
    "BoundObservation",
    "Credit",
    "CurveCredit",
    "DefaultObservation",
    "Observation",
    "PruningEnv",
    "Reward",
    "State",
    "make_observation",
    "make_reward",
    "register_envs",
]

register_envs()
