"""What an evaluated candidate is worth to an agent."""

from collections.abc import Callable, Mapping
from math import log
from typing import TYPE_CHECKING, TypeAlias

from autoprune.budget.messages import did_you_mean
from autoprune.errors import ArgumentError

if TYPE_CHECKING:
    from autoprune.score.evaluation import Evaluation

Reward: TypeAlias = Callable[["Evaluation", Mapping[str, float]], float]
"""Gives the reward of a candidate, higher is better, from its evaluation and all its costs by name."""


class KL:
    """Minus the KL divergence of the candidate's outputs from the dense model's, in nats per image."""

    def __call__(self, evaluation: "Evaluation", costs: Mapping[str, float]) -> float:
        """The reward, 0 at best."""
        return -_metric(evaluation, "kl")


class Accuracy:
    """The accuracy, a share: AMC's R_err = -error (He et al. 2018, arXiv:1802.03494, section 3.4), plus 1."""

    def __call__(self, evaluation: "Evaluation", costs: Mapping[str, float]) -> float:
        """The reward, 1 at best."""
        return _metric(evaluation, "accuracy")


class AccuracyGuaranteed:
    """AMC's R_FLOPs = -error * log(FLOPs) (He et al. 2018, arXiv:1802.03494, section 3.4), FLOPs = 2 * MACs.

    It hardly depends on the FLOPs where the error is large, so an agent first regains the accuracy and then
    compresses; a budget that allows everything (`macs=100%`) leaves the choice to it.
    """

    def __call__(self, evaluation: "Evaluation", costs: Mapping[str, float]) -> float:
        """The reward, 0 at best."""
        return -(1 - _metric(evaluation, "accuracy")) * log(2 * costs["macs"])


def make_reward(reward: "str | Reward") -> Reward:
    """The reward of that name (`kl`, `accuracy`, `accuracy_guaranteed`), or the callable itself.

    Raises:
        ArgumentError: An unknown name, or something that cannot be called.
    """
    known: dict[str, Callable[[], Reward]] = {
        "kl": KL,
        "accuracy": Accuracy,
        "accuracy_guaranteed": AccuracyGuaranteed,
    }
    if callable(reward):
        return reward
    if reward not in known:
        raise ArgumentError(
            f"reward must be a known name or a callable, got {reward!r}{did_you_mean(str(reward), known)}"
        )
    return known[reward]()


def _metric(evaluation: "Evaluation", name: str) -> float:
    if name not in evaluation.metrics:
        raise ArgumentError(
            f"the reward needs the metric '{name}', but the evaluation has {sorted(evaluation.metrics)}; "
            "give labels with the search images, or choose another reward"
        )
    return evaluation.metrics[name]
