"""A plan and a network make a smaller network."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from autoprune.errors import ArgumentError, PlanError
from autoprune.graph.export import device_of, unwrap
from autoprune.surgery.attributes import allowed_attributes
from autoprune.surgery.compare import dtype_of, outputs, relative, varied
from autoprune.surgery.slicer import Slicer
from autoprune.surgery.tensors import fingerprint, first_difference

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from autoprune.calibration import Calibration
    from autoprune.graph import PruneGraph
    from autoprune.graph.rewriter import Rewriter
    from autoprune.plan import Plan


def apply(
    model: nn.Module,
    plan: "Plan",
    calibration: "Calibration | None" = None,
    *,
    example_inputs: Any = None,
) -> nn.Module:
    """Make the smaller network that a plan describes.

    Args:
        model: The dense network of the plan; untouched.
        plan: What stays, and which form the smaller network takes.
        calibration: If given, the layers that read pruned channels get the weights that reproduce their
            dense outputs best, by least squares; without it they keep those of their weights that stay.
        example_inputs: Inputs as for the trace. The smaller network is verified on them (`autoprune.verify`,
            quick); without them, on noise of the shapes that the plan remembers, if the dense network can run
            on it. For plans of the form "graph" whose inputs a file cannot hold, they are needed: the model
            is exported with them again.

    Returns:
        An independent network with smaller tensors of its own. DataParallel and `torch.compile` wrappers are
        taken off. `requires_grad`, ties, names of parameters, type, device and memory order are as in
        `model`, and so is train or eval mode; gradients, and hooks on single tensors, are not carried over.

        Form "class": the same class with corrected attributes, hooks and the mode of every module kept.

        Form "graph": a module that runs the model's exported graph. It computes what the model computes in
        eval mode; in train mode batch normalization and dropout train, but Python code of the model that asks
        for the mode does not run. Inputs must have the shapes of the trace, the batch any size where the
        model allowed it (`plan` says if not). Hooks and the model's own methods are gone.

    Raises:
        PlanError: The plan belongs to another network (the message names the first difference), or asks
            for an attribute that no adapter knows.
        ArgumentError: `example_inputs` are needed and missing.
        TraceError: `torch.export` refuses the model (form "graph").
        ModelError: The smaller network fails its verification.
    """
    check_plan_fits(model, plan)
    overrides: Mapping[str, Tensor] = {}
    if calibration is not None:
        from autoprune.calibration import Reconstruction

        keep = {name: group.keep for name, group in plan.groups.items()}
        overrides = Reconstruction(calibration.graph, model, calibration)(keep)
    rewriter = rewriter_of(model, plan, example_inputs) if plan.form == "graph" else None
    inputs = _noise(model, plan) if example_inputs is None else example_inputs
    if inputs is not None:
        from autoprune.verify import verify

        verify(model, plan, inputs, quick=True, rewriter=rewriter).require()
    return pruned(model, plan, overrides, rewriter=rewriter)


def _noise(model: nn.Module, plan: "Plan") -> Any:
    """Inputs of the shapes that the plan remembers; None if it has none or the dense network fails."""
    from autoprune.plan.inputs import make_inputs

    if plan.inputs is None:
        return None
    dense = Slicer(model)({}).eval()
    device = device_of(dense)
    inputs = varied(make_inputs(plan.inputs, device, dtype_of(dense)), torch.Generator().manual_seed(0))
    try:
        found = outputs(dense, inputs)
        relative(found, found, found)
    except Exception as error:  # a forward may raise anything
        logger.info("the pruned network is not verified, the dense one fails on made-up inputs: %s", error)
        return None
    return inputs


def pruned(
    model: nn.Module,
    plan: "Plan",
    overrides: Mapping[str, Tensor] | None = None,
    *,
    rewriter: "Rewriter | None" = None,
    source: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """`apply` without checks, with tensors of one's own.

    Args:
        model: The dense network.
        plan: What stays.
        overrides: Tensors to use instead of the selected ones, by name, already of the smaller shape.
        rewriter: Of the form "graph"; None makes it anew.
        source: Of the form "graph", tensors to select from; None takes the model's.
    """
    if plan.form == "class":
        return Slicer(model)(plan.slices, plan.modules, overrides)
    rewriter = rewriter or rewriter_of(model, plan)
    return rewriter({name: group.keep for name, group in plan.groups.items()}, overrides, source)


def rewriter_of(model: nn.Module, plan: "Plan", example_inputs: Any = None) -> "Rewriter":
    """Export the dense network again, for a plan of the form "graph".

    Raises:
        PlanError: The exported graph is another one than when the plan was made.
        ArgumentError: The plan does not hold what the inputs were like, and they are not given.
        TraceError: `torch.export` refuses the model.
    """
    from autoprune.graph.rewriter import make_rewriter
    from autoprune.plan.inputs import make_inputs

    assert plan.exported is not None
    model = unwrap(model)
    if plan.inputs is not None:
        device = device_of(model)
        example_inputs = make_inputs(plan.inputs, device, dtype_of(model))
    if example_inputs is None:
        raise ArgumentError(
            "example_inputs must be given: the pruned network is a rewritten exported graph, and the inputs "
            "of its trace hold something that a plan cannot"
        )
    rewriter = make_rewriter(model, example_inputs, heads=plan.exported.heads, inexact=plan.exported.inexact)
    check_graph_fits(rewriter.graph, plan)
    return rewriter


def check_graph_fits(graph: "PruneGraph", plan: "Plan") -> None:
    """Refuse a graph whose groups are not those of the plan.

    Raises:
        PlanError: It is another graph.
    """
    try:
        slices = graph.slices({name: group.keep for name, group in plan.groups.items()})
    except ArgumentError as error:
        raise PlanError(f"the model's exported graph is not that of the plan: {error}") from error
    found = {name: {d: tuple(map(int, s)) for d, s in dims.items()} for name, dims in slices.items()}
    if found != plan.slices:
        raise PlanError(
            "the model's exported graph is not that of the plan: the groups run through other tensors; use "
            "the code and the autoprune that the plan was made with, or make the plan again"
        )


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
