"""From a policy and a network that it has never seen to a plan."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from autoprune.agents.policies.similarity import FAR, Likeness
from autoprune.allocation import restrict
from autoprune.budget import Budget
from autoprune.calibration import Calibration, calibrate, sensitivity_curves
from autoprune.criteria import rank, statistics_of
from autoprune.data import FirstImages
from autoprune.errors import ArgumentError
from autoprune.graph import trace
from autoprune.graph.export import device_of, unwrap
from autoprune.plan import Plan, make_plan
from autoprune.surgery import proven
from autoprune.task import Task

if TYPE_CHECKING:
    from autoprune.agents.policies.policy import Policy
    from autoprune.criteria import Criterion

logger = logging.getLogger(__name__)

_NEAR = 0.02
"""Share of the dense cost by which a budget may lie outside what was learned without a word."""


def plan(
    policy: "Policy",
    model: nn.Module,
    example_inputs: Any,
    calibration: Any,
    budget: str | Budget,
    *,
    criterion: "str | Criterion | None" = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    round_to: int = 1,
    floor_units: int = 1,
    seed: int = 0,
    calibration_images: int = 2000,
) -> Plan:
    """Decide the widths of a network; `Policy.plan` documents the first arguments and the errors.

    Args:
        policy: Decides.
        model: As `Policy.plan`.
        example_inputs: As `Policy.plan`.
        calibration: As `Policy.plan`.
        budget: As `Policy.plan`.
        criterion: Orders the units; None takes the one that the policy was learned with.
        include: Names or patterns of the only groups that may be pruned; empty means all.
        exclude: Names or patterns of groups that stay dense.
        round_to: Widths are multiples of this.
        floor_units: Smallest number of units that a group keeps.
        seed: Of images and criterion.
        calibration_images: Images that are read of data.
    """
    network = unwrap(model)
    chosen = _known_criterion(policy) if criterion is None else criterion
    narrow = partial(restrict, include=include, exclude=exclude)
    graph = proven(trace(network, example_inputs), narrow=narrow, seed=seed)
    bound = (Budget.parse(budget) if isinstance(budget, str) else budget).bind(graph)
    images = _images(calibration, calibration_images, seed, network)
    if not isinstance(calibration, Calibration):
        assert images is not None
        needed = sorted(statistics_of(chosen))
        calibration = calibrate(graph, network, images, seed=seed, statistics=needed)
    order = rank(graph, network, chosen, calibration, seed=seed, batches=images)
    curves = sensitivity_curves(graph, network, calibration, order)
    task = Task(
        graph,
        bound,
        {name: np.asarray(curve, np.float64) for name, curve in curves.items()},
        lower=policy.card.lower,
        upper=policy.card.upper,
        round_to=round_to,
        floor_units=floor_units,
    )
    info = {"budget": str(bound), "agent": "policy", "criterion": str(policy.card.criterion), "seed": seed}
    info |= {"distance": round(compare(policy, task).distance, 4)}
    if criterion is not None:
        info["criterion"] = criterion if isinstance(criterion, str) else type(criterion).__name__
    widths = task.widths(policy.allocate(task))
    keep = {name: np.sort(order[name][:width]).tolist() for name, width in widths.items()}
    return make_plan(graph, network, keep, info)


def compare(policy: "Policy", task: Task) -> Likeness:
    """How similar the network is to those that the policy knows; logs a warning where it is very different.

    A budget outside the range that the policy was learned for is logged too.
    """
    found = policy.likeness(task)
    if found.far:
        logger.warning(
            "the network is very different from those that the policy was learned on: its groups are at a "
            "mean distance of %.2f (from %.2f on a policy is a guess), '%s' the furthest",
            found.distance,
            FAR,
            found.furthest,
        )
    for name, limit in task.budget.limits.items():
        low, high = policy.card.shares.get(name, (0.0, 1.0))
        share = limit / task.budget.dense[name]
        if not low - _NEAR <= share <= high + _NEAR:
            logger.warning(
                "the policy was learned for %s from %.3g to %.3g%% of the dense network, not for %.3g%%",
                name, 100 * low, 100 * high, 100 * share,
            )  # fmt: skip
    return found


def _known_criterion(policy: "Policy") -> str:
    known = policy.card.criterion
    if not known or known.startswith("custom:"):
        raise ArgumentError(
            f"criterion must be given: the policy was learned with one that it cannot make again ({known!r})"
        )
    return known


def _images(calibration: Any, count: int, seed: int, network: nn.Module) -> FirstImages | None:
    """The images to calibrate on: `train` of an object that has it, or the batches themselves."""
    if isinstance(calibration, Calibration):
        return None
    loader = getattr(calibration, "train", calibration)
    return FirstImages(loader, count, seed=seed, name="calibration", device=device_of(network))
