"""Proof by running: the pruned network does what the dense network does with the removed units silenced."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from autoprune.errors import ModelError
from autoprune.graph.export import split_inputs
from autoprune.plan import Plan
from autoprune.surgery.apply import apply, check_plan_fits
from autoprune.surgery.masking import zeroed
from autoprune.surgery.slicer import Slicer

logger = logging.getLogger(__name__)

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3}


@dataclass(frozen=True)
class Verification:
    """What running the pruned network showed.

    Attributes:
        difference: Largest absolute difference between the sliced network's outputs and those of the dense
            network with the removed units zeroed, relative to the largest absolute output.
        effect: The same between sliced and dense network. At 0 the removed units never mattered, and
            `difference` proves nothing.
        tolerance: Largest `difference` that passes.
        macs: MACs of the sliced network on the example inputs, counted by `torch.utils.flop_counter`.
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


def verify(model: nn.Module, plan: Plan, example_inputs: Any, *, quick: bool = False) -> Verification:
    """Apply a plan and run the result beside the dense network.

    Args:
        model: The dense network of the plan, in any mode; untouched.
        plan: The plan. Groups whose note says that pruning them is inexact fail by nature.
        example_inputs: Inputs as for the trace; the batch may have another size.
        quick: Leave out the backward pass and the `state_dict` round trip.

    Raises:
        PlanError: The plan belongs to another network.
        ModelError: The sliced network cannot run, or outputs are not finite or not comparable.
    """
    difference, effect, dtype = _compare(model, plan, example_inputs)
    pruned = apply(model, plan).eval()
    dense_macs, macs = (_macs(net, example_inputs) for net in (Slicer(model)({}).eval(), pruned))
    planned = plan.costs
    scale = Fraction(dense_macs) / Fraction(planned.dense["macs"] or 1)
    expected = Fraction(planned.found["macs"]) * scale
    return Verification(
        difference=difference,
        effect=effect,
        tolerance=TOLERANCES.get(dtype, 0.05),
        macs=macs,
        macs_expected=int(expected) if expected.denominator == 1 else expected,
        params=sum(p.numel() for p in pruned.parameters()),
        params_expected=int(planned.found["params"]),
        backward=None if quick else _trains_as_before(model, plan, example_inputs),
        state_dict=None if quick else _survives_state_dict(model, plan),
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
    return _differences(model, plan, example_inputs, dtype)[0]


def _compare(model: nn.Module, plan: Plan, example_inputs: Any) -> tuple[float, float, torch.dtype]:
    """Differences in float64 where model and device can do that, else in the model's own type."""
    try:
        return *_differences(model, plan, example_inputs, torch.float64), torch.float64
    except _DenseFailed as error:
        logger.info("the model does not run in float64, so it is verified in its own type: %s", error)
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return *_differences(model, plan, example_inputs, None), own


class _DenseFailed(ModelError):
    """Not the surgery: the dense network itself cannot run like this."""


def _differences(
    model: nn.Module, plan: Plan, example_inputs: Any, dtype: torch.dtype | None
) -> tuple[float, float]:
    check_plan_fits(model, plan)
    dense = Slicer(model)({}).eval()
    try:
        if dtype is not None:
            dense.to(dtype)
            example_inputs = _cast(example_inputs, dtype)
        before = _outputs(dense, example_inputs)
    except (RuntimeError, TypeError, ValueError) as error:
        raise _DenseFailed(
            f"the dense model fails on example_inputs: {type(error).__name__}: {error}"
        ) from error
    try:
        sliced = _outputs(Slicer(dense)(plan.slices, plan.modules), example_inputs)
    except Exception as error:  # a forward may raise anything
        raise ModelError(
            f"the pruned network cannot run: {type(error).__name__}: {error}; its forward may hold a size "
            "that pruning changes, leave the group concerned dense"
        ) from error
    with zeroed(dense, plan.slices):
        reference = _outputs(dense, example_inputs)
    return _relative(reference, sliced, before), _relative(before, sliced, before)


def _cast(inputs: Any, dtype: torch.dtype) -> Any:
    return pytree.tree_map(
        lambda t: t.to(dtype) if isinstance(t, Tensor) and t.is_floating_point() else t, inputs
    )


def _call(model: nn.Module, example_inputs: Any) -> Any:
    args, kwargs = split_inputs(example_inputs)
    return model(*args, **kwargs)


@torch.no_grad()
def _outputs(model: nn.Module, example_inputs: Any) -> list[Tensor]:
    leaves = pytree.tree_leaves(_call(model, example_inputs))
    return [leaf.detach().clone() for leaf in leaves if isinstance(leaf, Tensor)]


def _relative(expected: list[Tensor], found: list[Tensor], scale: list[Tensor]) -> float:
    shapes = [tuple(t.shape) for t in expected], [tuple(t.shape) for t in found]
    if shapes[0] != shapes[1] or not shapes[0]:
        raise ModelError(f"the pruned network must give outputs of shapes {shapes[0]}, got {shapes[1]}")
    largest = max(_size(t) for t in scale)
    difference = max(_size(a.double() - b.double()) for a, b in zip(expected, found, strict=True))
    if not all(bool(torch.isfinite(t).all()) for t in (*expected, *found)):
        raise ModelError(
            "the outputs on example_inputs must be finite, got NaN or infinity; check weights and inputs"
        )
    return difference / max(largest, torch.finfo(torch.float64).tiny)


def _size(tensor: Tensor) -> float:
    return float(tensor.double().abs().max()) if tensor.numel() else 0.0


@torch.no_grad()
def _macs(model: nn.Module, example_inputs: Any) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        _call(model, example_inputs)
    return int(counter.get_total_flops()) // 2


def _trains_as_before(model: nn.Module, plan: Plan, example_inputs: Any) -> bool | None:
    inputs = pytree.tree_map(lambda t: torch.cat([t, t]) if _is_single(t) else t, example_inputs)
    if _trains(lambda: apply(model, plan), inputs):
        return True
    return False if _trains(lambda: Slicer(model)({}), inputs) else None


def _is_single(value: Any) -> bool:
    """Batch norm in train mode needs more than one value per channel, hence two images at least."""
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == 1


def _trains(make: Callable[[], nn.Module], inputs: Any) -> bool:
    net = make().train()
    with torch.random.fork_rng(devices=_devices(net)), torch.inference_mode(False), torch.enable_grad():
        try:
            leaves = pytree.tree_leaves(_call(net, inputs))
            total = sum(t.float().mean() for t in leaves if isinstance(t, Tensor) and t.requires_grad)
            if not isinstance(total, Tensor):
                return False
            total.backward()  # type: ignore[no-untyped-call]
        except Exception as error:  # a forward may raise anything
            logger.info("a train-mode pass fails: %s", error)
            return False
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    return bool(gradients) and all(bool(torch.isfinite(g).all()) for g in gradients)


def _devices(net: nn.Module) -> list[torch.device]:
    return list({p.device for p in net.parameters() if p.device.type == "cuda"})


def _survives_state_dict(model: nn.Module, plan: Plan) -> bool:
    pruned, other = apply(model, plan), apply(model, plan)
    state = pruned.state_dict()
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
