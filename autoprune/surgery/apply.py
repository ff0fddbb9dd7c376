"""A plan and a network make a smaller network."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from autoprune.errors import PlanError
from autoprune.graph.export import unwrap
from autoprune.surgery.attributes import allowed_attributes
from autoprune.surgery.slicer import Slicer
from autoprune.surgery.tensors import fingerprint, first_difference

if TYPE_CHECKING:
    from autoprune.calibration import Calibration
    from autoprune.plan import Plan


def apply(model: nn.Module, plan: "Plan", calibration: "Calibration | None" = None) -> nn.Module:
    """Make the smaller network that a plan describes.

    Args:
        model: The dense network of the plan; untouched.
        plan: What stays.
        calibration: If given, the layers that read pruned channels get the weights that reproduce their
            dense outputs best, by least squares; without it they keep those of their weights that stay.

    Returns:
        An independent network of the same class, with smaller tensors of its own and corrected attributes.
        DataParallel and `torch.compile` wrappers are taken off.
        Hooks, `requires_grad`, ties, type, device, memory order and train or eval mode are as in `model`;
        gradients, and hooks on single tensors, are not carried over.

    Raises:
        PlanError: The plan belongs to another network (the message names the first difference), or asks
            for an attribute that no adapter knows.
    """
    check_plan_fits(model, plan)
    overrides: Mapping[str, Tensor] = {}
    if calibration is not None:
        from autoprune.calibration import Reconstruction

        keep = {name: group.keep for name, group in plan.groups.items()}
        overrides = Reconstruction(calibration.graph, model, calibration)(keep)
    return Slicer(model)(plan.slices, plan.modules, overrides)


def check_plan_fits(model: nn.Module, plan: "Plan") -> None:
    """Refuse a plan that was made for another network.

    Raises:
        PlanError: Names the first tensor or attribute that differs.
    """
    difference = first_difference(plan.fingerprint, fingerprint(model))
    if difference:
        raise PlanError(
            f"the plan belongs to another network than the model: {difference}; use the plan's own network"
        )
    modules = dict(unwrap(model).named_modules())
    for path, values in plan.modules.items():
        if path not in modules:
            raise PlanError(f"the plan belongs to another network than the model: it has no module '{path}'")
        allowed = allowed_attributes(modules[path])
        for attribute in values:
            if attribute not in allowed or not hasattr(modules[path], attribute):
                kind = type(modules[path]).__name__
                raise PlanError(
                    f"the plan changes '{path}.{attribute}', which no adapter for {kind} knows; "
                    "register one with register_adapter, or make the plan again"
                )
