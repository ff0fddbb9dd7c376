"""Proof by running: the pruned network does what the dense network does with the removed units silenced."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.errors import ModelError, PlanError
from autoprune.graph import Settings, counted_macs, trace_program
from autoprune.plan import Plan
from autoprune.surgery.apply import check_graph_fits, check_plan_fits, pruned, rewriter_of
from autoprune.surgery.compare import COARSE, TOLERANCES, call, cast, devices_of, dtype_of, outputs, relative
from autoprune.surgery.masking import zeroed
from autoprune.surgery.slicer import Slicer
from autoprune.surgery.tensors import held_tensors
from autoprune.surgery.trial import SINGLE, SINGLE_SHARE

if TYPE_CHECKING:
    from autoprune.graph.rewriter import Rewriter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verification:
    """What running the pruned network showed.

    Attributes:
        difference: Largest absolute difference between the sliced network's outputs and those of the dense
            network with the removed units zeroed, relative to the largest absolute output.
        effect: The same between sliced and dense network. At 0 the removed units never mattered, and
            `difference` proves nothing.

            Of a plan with inexact groups (`Plan.inexact`), which no masked network equals, `difference` is
            that between its two forms, the model's own class and the rewritten graph; if the plan has the
            form "graph", that of its exact groups alone.
        tolerance: Largest `difference` that passes.
        macs: MACs of the sliced network on the example inputs, as `autoprune.graph.counted_macs` counts them.
        macs_expected: MACs by the plan, scaled to these inputs by what the dense network costs on them.
        params: Parameters of the sliced network, shared ones once.
        params_expected: Parameters by the plan.
        backward: Whether a train-mode forward and backward pass gives finite gradients; None if it was not
            asked for, or if the dense network cannot do it on these inputs either.
        state_dict: Whether the weights survive `state_dict` and `load_state_dict`; None if not asked for.
    """

    difference: float
    effect: float
    tolerance: float
    macs: int
    macs_expected: int | Fraction
    params: int
    params_expected: int
    backward: bool | None = None
    state_dict: bool | None = None

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, in words; empty if all is well."""
        checks = (
            (
                self.difference <= self.tolerance,
                f"its outputs differ from the masked dense network's by {self.difference:.3g} "
                f"(relative; at most {self.tolerance:.3g} is rounding)",
            ),
            (self.macs == self.macs_expected, f"it has {self.macs} MACs instead of {self.macs_expected}"),
            (
                self.params == self.params_expected,
                f"it has {self.params} parameters, not {self.params_expected}",
            ),
            (self.backward is not False, "a train-mode forward and backward pass fails"),
            (self.state_dict is not False, "its weights do not survive a state_dict round trip"),
        )
        return tuple(text for holds, text in checks if not holds)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def require(self) -> None:
        """Do nothing if all is well.

        Raises:
            ModelError: Names all that is wrong.
        """
        if self.faults:
            raise ModelError(
                f"the pruned network failed its verification: {'; '.join(self.faults)}; "
                "report the network, and leave the groups concerned dense meanwhile"
            )


def verify(
    model: nn.Module,
    plan: Plan,
    example_inputs: Any,
    *,
    quick: bool = False,
    rewriter: "Rewriter | None" = None,
) -> Verification:
    """Apply a plan and run the result beside the dense network.

    Args:
        model: The dense network of the plan, in any mode; untouched.
        plan: The plan, of either form.
        example_inputs: Inputs as for the trace; the batch may have another size.
        quick: Leave out the backward pass and the `state_dict` round trip.
        rewriter: Of a plan of the form "graph", what makes its networks; None exports the model again.

    Raises:
        PlanError: The plan belongs to another network.
        TraceError: The model is to be exported again, and `torch.export` refuses it.
        ModelError: The sliced network cannot run, or outputs are not finite or not comparable.
    """
    check_plan_fits(model, plan)
    rewriter = rewriter or _rewriter(model, plan, example_inputs)
    difference, effect, tolerance = _compare(model, plan, example_inputs, rewriter)
    make = partial(pruned, model, plan, rewriter=rewriter)
    small = make().eval()
    dense_macs, macs = (counted_macs(net, example_inputs) for net in (Slicer(model)({}).eval(), small))
    planned = plan.costs
    scale = Fraction(dense_macs) / Fraction(planned.dense["macs"] or 1)
    expected = Fraction(planned.found["macs"]) * scale
    return Verification(
        difference=difference,
        effect=effect,
        tolerance=tolerance,
        macs=macs,
        macs_expected=int(expected) if expected.denominator == 1 else expected,
        params=sum(p.numel() for p in small.parameters()),
        params_expected=int(planned.found["params"]),
        backward=None if quick else _trains_as_before(model, make, example_inputs),
        state_dict=None if quick else _survives_state_dict(make),
    )


def check_masked_equals_sliced(
    model: nn.Module, plan: Plan, example_inputs: Any, *, dtype: torch.dtype | None = torch.float64
) -> float:
    """Largest difference between the sliced network's outputs and those of the masked dense network.

    Both run in eval mode, as copies of `dtype`.

    Args:
        model: The dense network of the plan; untouched.
        plan: The plan.
        example_inputs: A tensor, a tuple of positional arguments or a dict of keyword arguments.
        dtype: Floating-point type of weights and inputs; None leaves them as they are.

    Returns:
        Largest absolute difference over all outputs, by the largest absolute output of the dense network.

    Raises:
        PlanError: The plan belongs to another network.
        ModelError: The sliced network cannot run, or outputs are not finite or not comparable.
    """
    check_plan_fits(model, plan)
    rewriter = _rewriter(model, plan, example_inputs)
    return _differences(model, plan, example_inputs, dtype, rewriter)[0]


def _rewriter(model: nn.Module, plan: Plan, example_inputs: Any) -> "Rewriter | None":
    """What makes the networks of a plan of the form "graph", or, if it is inexact, those to compare with."""
    if plan.form == "graph":
        return rewriter_of(model, plan, example_inputs)
    return _twin(model, plan, example_inputs) if plan.inexact else None


def _twin(model: nn.Module, plan: Plan, example_inputs: Any) -> "Rewriter":
    """Makes the networks of a plan of the form "class" from the exported graph."""
    from autoprune.graph.rewriter import Rewriter

    for heads in (True, False):
        traced = trace_program(model, example_inputs, Settings(inexact=True, heads=heads))
        try:
            check_graph_fits(traced.graph, plan)
        except PlanError as error:
            mismatch = error
        else:
            return Rewriter(traced)
    raise mismatch


def _compare(
    model: nn.Module, plan: Plan, example_inputs: Any, rewriter: "Rewriter | None"
) -> tuple[float, float, float]:
    """Difference, effect and tolerance, in float64 where model and device can do that, else in its own type.

    A forward that computes a part in float32 whatever its weights are can be no more exact than that.
    """
    try:
        difference, effect = _differences(model, plan, example_inputs, torch.float64, rewriter)
        tolerance = max(TOLERANCES[torch.float64], min(SINGLE, SINGLE_SHARE * effect))
        return difference, effect, tolerance if difference <= tolerance else TOLERANCES[torch.float64]
    except _DenseFailed as error:
        logger.info("the model does not run in float64, so it is verified in its own type: %s", error)
    except ModelError as error:
        if rewriter is None:
            raise
        logger.info("the exported graph does not run in float64, so it is verified as it is: %s", error)
    tolerance = TOLERANCES.get(dtype_of(model), COARSE)
    return *_differences(model, plan, example_inputs, None, rewriter), tolerance


class _DenseFailed(ModelError):
    """Not the surgery: the dense network itself cannot run like this."""


def _differences(
    model: nn.Module,
    plan: Plan,
    example_inputs: Any,
    dtype: torch.dtype | None,
    rewriter: "Rewriter | None",
) -> tuple[float, float]:
    dense = Slicer(model)({}).eval()
    try:
        if dtype is not None:
            dense.to(dtype)
            example_inputs = cast(example_inputs, dtype)
        before = outputs(dense, example_inputs)
    except (RuntimeError, TypeError, ValueError) as error:
        raise _DenseFailed(
            f"the dense model fails on example_inputs: {type(error).__name__}: {error}"
        ) from error
    source = {name: held.tensor for name, held in held_tensors(dense).items()}
    try:
        small = pruned(dense, plan, rewriter=rewriter, source=source).eval()
        sliced = outputs(small, example_inputs)
    except Exception as error:  # a forward may raise anything
        raise ModelError(
            f"the pruned network cannot run: {type(error).__name__}: {error}; its forward may hold a size "
            "that pruning changes, leave the group concerned dense"
        ) from error
    reference, found = _reference(dense, plan, example_inputs, rewriter, sliced)
    return relative(reference, found, before), relative(before, sliced, before)


def _reference(
    dense: nn.Module, plan: Plan, example_inputs: Any, rewriter: "Rewriter | None", sliced: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Two lists of outputs that must be equal."""
    if not plan.inexact or rewriter is None:
        with zeroed(dense, plan.slices):
            return outputs(dense, example_inputs), sliced
    source = {name: held.tensor for name, held in held_tensors(dense).items()}
    keep = {name: group.keep for name, group in plan.groups.items()}
    if plan.form == "class":
        return outputs(rewriter(keep, source=source).eval(), example_inputs), sliced
    exact = {name: units for name, units in keep.items() if name not in plan.inexact}
    found = outputs(rewriter(exact, source=source).eval(), example_inputs)
    with zeroed(dense, rewriter.graph.slices(exact)):
        return outputs(dense, example_inputs), found


def _trains_as_before(model: nn.Module, make: Callable[[], nn.Module], example_inputs: Any) -> bool | None:
    inputs = pytree.tree_map(lambda t: torch.cat([t, t]) if _is_single(t) else t, example_inputs)
    for used in (inputs, example_inputs):  # an exported graph may take one batch size only
        if _trains(make, used):
            return True
    return False if _trains(lambda: Slicer(model)({}), inputs) else None


def _is_single(value: Any) -> bool:
    """Batch norm in train mode needs more than one value per channel, hence two images at least."""
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == 1


def _trains(make: Callable[[], nn.Module], inputs: Any) -> bool:
    net = make().train()
    with torch.random.fork_rng(devices=devices_of(net)), torch.inference_mode(False), torch.enable_grad():
        try:
            leaves = pytree.tree_leaves(call(net, inputs))
            total = sum(t.float().mean() for t in leaves if isinstance(t, Tensor) and t.requires_grad)
            if not isinstance(total, Tensor):
                return False
            total.backward()  # type: ignore[no-untyped-call]
        except Exception as error:  # a forward may raise anything
            logger.info("a train-mode pass fails: %s", error)
            return False
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    return bool(gradients) and all(bool(torch.isfinite(g).all()) for g in gradients)


def _survives_state_dict(make: Callable[[], nn.Module]) -> bool:
    small, other = make(), make()
    state = small.state_dict()
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.zero_()
    try:
        other.load_state_dict(state, strict=True)
    except RuntimeError:
        return False
    again = other.state_dict()
    return list(again) == list(state) and all(
        torch.equal(again[name], value) for name, value in state.items() if isinstance(value, Tensor)
    )
