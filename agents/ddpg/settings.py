"""What can be set, and the steps of the ablation from AMC's DDPG to ours."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import isfinite
from types import MappingProxyType
from typing import Any

from autoprune.budget.messages import did_you_mean
from autoprune.errors import ArgumentError


@dataclass(frozen=True)
class DDPGSettings:
    """Hyper-parameters of `DDPGAgent`. "AMC" marks the values of He et al. 2018, arXiv:1802.03494.

    Attributes:
        around_reference: The actor's output is an offset from the greedy allocation, and the first episode is
            that allocation. Otherwise the actor decides alone, from scratch (AMC).
        reach: How far from that allocation an action of the actor may be, as a share of the room on either
            side; below 1 for policies that are to serve other networks.
        curve_credit: Every step is paid its weighted curve error, the last one the rest of the reward, and
            the critic learns returns. Otherwise every step is paid the final reward less a moving
            baseline, and the critic bootstraps (AMC).
        rounds: Rounds of free episodes in the surrogate before a real one; 0 for none (AMC).
        batch_episodes: Free episodes per round.
        gradient_steps: Updates of actor and critic per round of free episodes.
        imitation_steps: Updates of the actor per round towards the best candidates known.
        elites: How many candidates are imitated.
        climbs: How many of these are improved by exchanges between two groups first, in every round.
        kept_rounds: Rounds of free episodes that the replay memory holds.
        optimism: Standard deviations of the surrogate by which a candidate's log loss is believed lower,
            times log2(1 + episodes / groups).
        hidden: Hidden layers of actor and critic (AMC).
        actor_rate: Learning rate of the actor (AMC).
        critic_rate: Learning rate of the critic (AMC).
        batch_size: Transitions per update (AMC).
        tau: Share of the online networks that the target networks take over per update (AMC).
        warmup: Episodes of uniform actions before the actor decides (AMC: 100).
        memory: Real episodes that the replay memory holds (AMC: 100).
        noise: Standard deviation of the truncated normal noise on actions in [-1, 1] (AMC: 0.5 on [0, 1]).
        noise_decay: Factor of the noise per episode behind the warm-up (AMC).
        noise_floor: Smallest standard deviation.
        baseline_rate: Weight of the newest batch in the moving baseline (AMC).
        init_noise: Factor of the noise where the agent begins with a policy that knows the network.
        freeze: How many first layers of actor and critic such a policy keeps as they are.
        replay_steps: Updates per episode on the stored steps that such a policy may bring along.
    """

    around_reference: bool = True
    reach: float = 1.0
    curve_credit: bool = True
    rounds: int = 1
    batch_episodes: int = 192
    gradient_steps: int = 20
    imitation_steps: int = 20
    elites: int = 5
    climbs: int = 3
    kept_rounds: int = 10
    optimism: float = 0.6
    hidden: tuple[int, ...] = (300, 300)
    actor_rate: float = 1e-4
    critic_rate: float = 1e-3
    batch_size: int = 64
    tau: float = 0.01
    warmup: int = 0
    memory: int = 100
    noise: float = 0.3
    noise_decay: float = 0.99
    noise_floor: float = 0.1
    baseline_rate: float = 0.5
    init_noise: float = 0.5
    freeze: int = 0
    replay_steps: int = 5

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for name in ("batch_episodes", "elites", "kept_rounds", "batch_size", "memory"):
            _check(name, getattr(self, name), 1, whole=True)
        for name in (
            "rounds",
            "gradient_steps",
            "imitation_steps",
            "climbs",
            "warmup",
            "freeze",
            "replay_steps",
        ):
            _check(name, getattr(self, name), 0, whole=True)
        for name in ("optimism", "actor_rate", "critic_rate", "noise", "noise_floor", "init_noise"):
            _check(name, getattr(self, name), 0)
        for name in ("tau", "noise_decay", "baseline_rate", "reach"):
            _check(name, getattr(self, name), 0, 1)
        if not self.hidden:
            raise ArgumentError("hidden must name at least one layer, got ()")
        for size in self.hidden:
            _check("hidden", size, 1, whole=True)
        if self.freeze > len(self.hidden):
            raise ArgumentError(
                f"freeze must leave the last layer free, at most {len(self.hidden)} for "
                f"{len(self.hidden)} hidden layers, got {self.freeze}"
            )


def _check(name: str, value: Any, low: float, high: float = float("inf"), *, whole: bool = False) -> None:
    kind = "an integer" if whole else "a number"
    allowed = int if whole else (int, float)
    if (
        isinstance(value, bool)
        or not isinstance(value, allowed)
        or not low <= value <= high
        or not isfinite(value)
    ):
        raise ArgumentError(
            f"{name} must be {kind} of at least {low:g}{'' if high > 1 else ' and at most 1'}, got {value!r}"
        )


_AMC = DDPGSettings(
    around_reference=False,
    curve_credit=False,
    rounds=0,
    warmup=100,
    noise=1.0,
    noise_decay=0.95,
    noise_floor=0.0,
)
_GREEDY = replace(_AMC, around_reference=True, warmup=0, noise=0.3, noise_decay=0.99, noise_floor=0.05)

VARIANTS: Mapping[str, DDPGSettings] = MappingProxyType(
    {
        "amc": _AMC,
        "greedy": _GREEDY,
        "credit": replace(_GREEDY, curve_credit=True),
        "dyna": DDPGSettings(),
    }
)
"""The ablation: AMC's DDPG, then a greedy start, then credit through the curves, then free episodes."""


def make_settings(variant: str, changes: Mapping[str, Any]) -> DDPGSettings:
    """The settings of a variant with some of them changed.

    Raises:
        ArgumentError: An unknown variant or setting, or a value out of range.
    """
    if variant not in VARIANTS:
        raise ArgumentError(
            f"variant must be a known name, got {variant!r}{did_you_mean(str(variant), VARIANTS)}"
        )
    known = [f.name for f in fields(DDPGSettings)]
    for name in changes:
        if name not in known:
            raise ArgumentError(f"the agent 'ddpg' has no setting '{name}'{did_you_mean(name, known)}")
    return replace(VARIANTS[variant], **changes)
