"""Running pruned networks beside the masked dense one."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.errors import ModelError
from autoprune.graph import PruneGraph, Settings, trace_program
from autoprune.graph.interface import batch_size, grown
from autoprune.graph.rewriter import Rewriter
from autoprune.surgery.changes import Surgery
from autoprune.surgery.compare import (
    COARSE,
    TOLERANCES,
    call,
    cast,
    devices_of,
    dtype_of,
    outputs,
    relative,
    varied,
)
from autoprune.surgery.masking import zeroed
from autoprune.surgery.slicer import Slicer
from autoprune.surgery.tensors import held_tensors

logger = logging.getLogger(__name__)

Keep = Mapping[str, Sequence[int]]

MATTERS = 1e-6
"""Removed units whose effect on the outputs is below this (relative) show nothing."""

SINGLE, SINGLE_SHARE = 1e-5, 1e-3
"""A forward that computes a part in float32 whatever the weights are may differ by so much, and by so much of
the effect that the removed units have."""

TRAINING = "in train mode, "
"""How a fault begins that only train mode shows."""


class Trial:
    """Runs pruned networks of both forms on example inputs and compares them with the masked dense network.

    Everything runs in eval mode on a copy, in float64 where the model can; the model's own class must also
    still run in train mode. Where the removed units do not
    matter (a zero-initialized branch), the copy's weights are shaken once, by the seed; constant inputs,
    which would hide much, are replaced by noise.

    Attributes:
        dtype: As given.
        tolerance: Largest relative difference that is rounding.

    Args:
        model: The dense network; untouched.
        example_inputs: As for `trace`.
        dtype: Type of weights and inputs; None leaves them as they are.
        seed: Of noise.

    Raises:
        ModelError: The dense network cannot run like this, or its outputs are not finite.
    """

    def __init__(
        self, model: nn.Module, example_inputs: Any, *, dtype: torch.dtype | None = None, seed: int = 0
    ) -> None:
        self.dtype = dtype
        self._generator = torch.Generator().manual_seed(seed)
        self._dense = Slicer(model)({}).eval()
        if dtype is not None:
            self._dense.to(dtype)
            example_inputs = cast(example_inputs, dtype)
        self.tolerance = TOLERANCES.get(dtype_of(self._dense), COARSE)
        self._slicer = Slicer(self._dense)
        self._inputs = varied(example_inputs, self._generator)
        try:
            self._before = self._checked(self._inputs)
        except ModelError:
            self._inputs = example_inputs
            self._before = self._checked(self._inputs)
        self._shaken = False
        self._twin: Rewriter | None = None
        self._training_inputs = self._trainable(self._inputs)

    def of_class(self, graph: PruneGraph, keep: Keep) -> str:
        """What goes wrong when the model's own class is sliced; empty if nothing does."""

        def make() -> nn.Module:
            changed = Surgery(graph, self._dense)(keep)
            return self._slicer(changed.slices, changed.modules)

        return self._fault(make, graph, keep, self._class_reference) or self._train_fault(make)

    def of_graph(self, rewriter: Rewriter, keep: Keep) -> str:
        """What goes wrong when the exported graph is rewritten; empty if nothing does."""

        def make() -> nn.Module:
            return rewriter(keep, source=self._source()).eval()

        return self._fault(make, rewriter.graph, keep, lambda graph, keep: None)

    def _source(self) -> dict[str, Tensor]:
        return {name: held.tensor for name, held in held_tensors(self._dense).items()}

    def _class_reference(self, graph: PruneGraph, keep: Keep) -> list[Tensor]:
        """What a sliced class must compute where units are inexact: what the exported graph computes."""
        if self._twin is None:
            settings = Settings(inexact=graph.inexact, heads=graph.heads)
            self._twin = Rewriter(trace_program(self._dense, self._inputs, settings))
        return outputs(self._twin(keep, source=self._source()).eval(), self._inputs)

    def _fault(
        self,
        make: Callable[[], nn.Module],
        graph: PruneGraph,
        keep: Keep,
        inexact: Callable[[PruneGraph, Keep], list[Tensor] | None],
    ) -> str:
        """What goes wrong; `inexact` gives the reference where no masked network is one, or None."""
        slices = graph.slices(keep)
        try:
            found = outputs(make(), self._inputs)
            if all(graph.group(name).exact for name in keep):
                with zeroed(self._dense, slices):
                    reference = outputs(self._dense, self._inputs)
            else:
                reference = inexact(graph, keep) or found
            difference = relative(reference, found, self._before)
            effect = relative(reference, self._before, self._before)
        except Exception as error:  # a forward may raise anything
            return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if difference > max(self.tolerance, min(SINGLE, SINGLE_SHARE * effect)):
            return f"its outputs differ from the masked network's by {difference:.2g}"
        if slices and effect < MATTERS and self._shake():
            return self._fault(make, graph, keep, inexact)
        return ""

    def _train_fault(self, make: Callable[[], nn.Module]) -> str:
        """What goes wrong in train mode, where other code may run; nothing if the dense network fails too."""
        if self._training_inputs is None:
            return ""
        fault = _runs(make().train(), self._training_inputs)
        return fault and f"{TRAINING}{fault}"

    def _trainable(self, inputs: Any) -> Any:
        """Inputs that the dense network can be trained on, two rows at least for batch norm; or None."""
        inputs = grown(inputs, 1) if batch_size(inputs) == 1 else inputs
        fault = _runs(self._slicer({}).train(), inputs)
        if fault:
            logger.info("train mode is not tried: %s", fault)
        return None if fault else inputs

    def _checked(self, inputs: Any) -> list[Tensor]:
        try:
            found = outputs(self._dense, inputs)
        except ModelError:
            raise
        except Exception as error:  # a forward may raise anything
            raise ModelError(
                f"the dense model fails on example_inputs: {type(error).__name__}: {error}"
            ) from error
        relative(found, found, found)
        return found

    @torch.no_grad()
    def _shake(self) -> bool:
        """Add noise to the copy's parameters, once; False if that was done or makes the outputs useless."""
        if self._shaken:
            return False
        self._shaken = True
        saved = [(p, p.detach().clone()) for p in self._dense.parameters() if p.is_floating_point()]
        for parameter, before in saved:
            noise = torch.randn(before.shape, generator=self._generator, dtype=torch.float64)
            spread = float(before.double().std()) if before.numel() > 1 else 0.0
            parameter.add_(noise.to(before) * (0.3 * spread + 0.02))
        try:
            self._before = self._checked(self._inputs)
        except ModelError:
            for parameter, before in saved:
                parameter.copy_(before)
            return False
        return True


@torch.no_grad()
def _runs(net: nn.Module, inputs: Any) -> str:
    """What a forward pass raises; random state is as before."""
    with torch.random.fork_rng(devices=devices_of(net)):
        try:
            call(net, inputs)
        except Exception as error:  # a forward may raise anything
            return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return ""


def make_trial(model: nn.Module, example_inputs: Any, seed: int = 0) -> Trial:
    """A trial in float64 where model and device can do that, else in the model's own type."""
    try:
        return Trial(model, example_inputs, dtype=torch.float64, seed=seed)
    except (ModelError, TypeError) as error:
        logger.info("the model does not run in float64, so it is tried in its own type: %s", error)
    return Trial(model, example_inputs, seed=seed)


def draws(graph: PruneGraph, seed: int, count: int = 2) -> list[dict[str, list[int]]]:
    """Random units that stay of every exact group, at least one and never all; then of inexact ones too."""
    found = []
    inexact = any(not group.exact for group in graph.prunable)
    for number in range(count + inexact):
        rng = np.random.default_rng([seed, number])
        keep = {}
        for group in graph.prunable:
            if group.size < 2:
                continue
            width = int(rng.integers(1, group.size))
            units = np.sort(rng.choice(group.size, width, replace=False)).tolist()
            if group.exact or number == count:
                keep[group.name] = units
        found.append(keep)
    return found
