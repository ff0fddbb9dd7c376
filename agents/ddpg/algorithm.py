"""stable-baselines3's DDPG where AMC differs from it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DDPG
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn
from torch.optim import Optimizer

from autoprune.agents.ddpg.actor import OffsetPolicy
from autoprune.agents.ddpg.buffer import EpisodeBuffer
from autoprune.agents.ddpg.settings import DDPGSettings
from autoprune.agents.ddpg.storage import load_optimizer, module_state, nested, optimizer_state, prefixed
from autoprune.agents.policies.networks import load_weights
from autoprune.agents.randomness import local_torch
from autoprune.envs.env import PruningEnv

Explore = Callable[[int, NDArray[np.float64]], float]
"""The action to request, from the step of the episode and the actor's action (shape (1,))."""


class AMCDDPG(DDPG):
    """DDPG that stores executed actions, has two learning rates and leaves global random states alone.

    One call of `play` is one episode on the environment, and then updates as in `learn`.

    Args:
        env: The environment.
        settings: Hyper-parameters.
        seed: Seed of the first weights.
        reference: Position of the reference action in the observation, None for a plain actor.
    """

    replay_buffer: EpisodeBuffer

    def __init__(self, env: PruningEnv, settings: DDPGSettings, seed: int, reference: int | None) -> None:
        self._settings = settings
        self._length = len(env.task.names)
        self.last_info: dict[str, Any] = {}
        policy_kwargs: dict[str, Any] = {
            "net_arch": list(settings.hidden),
            "optimizer_kwargs": {"fused": True},
        }
        if reference is not None:
            policy_kwargs |= {"reference": reference, "reach": settings.reach}
        with local_torch(seed):
            super().__init__(
                "MlpPolicy" if reference is None else OffsetPolicy,
                DummyVecEnv([lambda: env]),
                buffer_size=settings.memory * self._length,
                learning_starts=0,
                batch_size=settings.batch_size,
                tau=settings.tau,
                gamma=1.0,
                train_freq=(1, "episode"),
                gradient_steps=0 if settings.rounds else -1,
                replay_buffer_class=EpisodeBuffer,
                policy_kwargs=policy_kwargs,
                device="cpu",
            )
        self.set_logger(Logger(None, []))
        self._explore: Explore = lambda step, action: float(action[0])
        self._step = 0

    def begin_with(self, weights: Mapping[str, Tensor], freeze: int, reach: float = 1.0) -> None:
        """Take over the weights of a policy and keep the first `freeze` layers of actor and critic.

        What an actor of a smaller `reach` does, this one does too as far as its last layer is linear.
        """
        load_weights(self.policy, weights)
        for actor in (self.actor, self.actor_target):
            last = _layers(actor.mu)[-1]
            for tensor in (last.weight, last.bias):
                tensor.data.mul_(reach / self._settings.reach)
        for stack in (self.actor.mu, self.critic.q_networks[0]):
            for layer in _layers(stack)[:freeze]:
                layer.requires_grad_(False)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Nothing: stable-baselines3 would seed the global generators."""

    def _update_learning_rate(self, optimizers: list[Optimizer] | Optimizer) -> None:
        assert isinstance(optimizers, list)
        rates = (self._settings.actor_rate, self._settings.critic_rate)
        for optimizer, rate in zip(optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.float64]:
        """Actions of the actor, shape (b,), for observations of shape (b, features)."""
        with torch.no_grad():
            actions: NDArray[np.float64] = (
                self.actor(torch.from_numpy(observations)).numpy()[:, 0].astype(np.float64)
            )
        return actions

    def play(self, explore: Explore, callback: BaseCallback, *, update: bool) -> dict[str, Any]:
        """Play one episode and update the networks as often as it had steps.

        Args:
            explore: Chooses the action to request.
            callback: Called by stable-baselines3; its `_on_rollout_end` comes between episode and updates.
            update: Whether to update at all.

        Returns:
            The `info` of the last step.
        """
        self._explore, self._step, self._last_obs = explore, 0, None
        self.learning_starts = self.num_timesteps if update else self.num_timesteps + self._length
        self.learn(self._length, callback, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type]
        return self.last_info

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Update; what stable-baselines3 draws and does not use leaves torch's global state as it was."""
        with local_torch():
            super().train(gradient_steps, batch_size)

    def train_on(self, buffer: EpisodeBuffer, gradient_steps: int) -> None:
        """Update on transitions of another memory."""
        own, self.replay_buffer = self.replay_buffer, buffer
        try:
            self.train(gradient_steps, self.batch_size)
        finally:
            self.replay_buffer = own

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizers, real memory and counters."""
        optimizers = {"actor": self.actor.optimizer, "critic": self.critic.optimizer}
        state = prefixed(module_state(self.policy), "policy") | prefixed(
            self.replay_buffer.stored(), "buffer"
        )
        for name, optimizer in optimizers.items():
            state |= prefixed(optimizer_state(optimizer), name)
        return state | {
            "timesteps": self.num_timesteps,
            "updates": self._n_updates,
            "played": self._episode_num,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.policy.load_state_dict(nested(state, "policy"))
        self.replay_buffer.restore(nested(state, "buffer"))
        load_optimizer(self.actor.optimizer, nested(state, "actor"))
        load_optimizer(self.critic.optimizer, nested(state, "critic"))
        self.num_timesteps, self._n_updates = int(state["timesteps"]), int(state["updates"])
        self._episode_num = int(state["played"])

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        assert isinstance(self._last_obs, np.ndarray)
        action = np.array([[self._explore(self._step, self.act(self._last_obs))]], np.float32)
        self._step += 1
        return action, action

    def _store_transition(
        self,
        replay_buffer: Any,
        buffer_action: Any,
        new_obs: Any,
        reward: Any,
        dones: Any,
        infos: list[dict[str, Any]],
    ) -> None:
        executed = np.array([info["executed_action"] for info in infos], np.float32)
        super()._store_transition(replay_buffer, executed, new_obs, reward, dones, infos)
        self.last_info = infos[0]


def _layers(stack: nn.Module) -> list[nn.Linear]:
    """The linear layers of a network, in order."""
    return [layer for layer in stack.children() if isinstance(layer, nn.Linear)]
