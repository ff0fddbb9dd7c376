"""Pruned networks from the exported graph, for any batch size where the model allows it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import ModelError, TraceError
from autoprune.graph.interface import batch_size, grown
from autoprune.graph.rewrite import Traced, rewrite, state_order
from autoprune.graph.rewritten import RewrittenModule
from autoprune.graph.trace import trace_program
from autoprune.graph.tracer import Settings
from autoprune.graph.types import PruneGraph

logger = logging.getLogger("autoprune.graph")


@dataclass(frozen=True, eq=False)
class Rewriter:
    """Makes pruned networks by rewriting the exported graph of one network.

    Attributes:
        traced: The trace, with channels prunable that only a rewritten graph can follow.
        twin: The same for a larger batch; None if the networks that this makes take the traced batch only.
    """

    traced: Traced
    twin: Traced | None = None

    @property
    def graph(self) -> PruneGraph:
        """The groups; those of a plain trace, and possibly more."""
        return self.traced.graph

    @property
    def any_batch(self) -> bool:
        """Whether the networks take batches of any size."""
        return self.twin is not None

    def __call__(
        self,
        keep: Mapping[str, Sequence[int]],
        overrides: Mapping[str, Tensor] | None = None,
        source: Mapping[str, Tensor] | None = None,
    ) -> RewrittenModule:
        """A pruned network of its own; arguments as of `rewrite`."""
        return rewrite(self.traced, keep, overrides, twin=self.twin, source=source)

    def __reduce__(self) -> tuple[Any, ...]:
        """Exported graphs cannot be pickled; a copy in another process exports the network again."""
        graph = self.graph
        return _again, (graph.model, graph.inputs, graph.heads, graph.inexact)


def make_rewriter(
    model: nn.Module, example_inputs: Any, *, heads: bool = True, inexact: bool = False
) -> Rewriter:
    """Export the network twice, at the batch size of the example inputs and at a larger one.

    If it cannot run on a larger batch, or does other things then, the rewriter makes networks for the traced
    batch size only.

    Args:
        model: The network, in any mode; untouched.
        example_inputs: As for `trace`. Tensors with a dimension 0 as long as the first one's share its batch.
        heads: As for `trace`.
        inexact: As for `trace`.

    Raises:
        ArgumentError: As `trace`.
        TraceError: As `trace`.
    """
    settings = Settings(inexact=inexact, rewritten=True, heads=heads)
    single = Rewriter(trace_program(model, example_inputs, settings))
    if not batch_size(example_inputs):
        return single
    try:
        both = Rewriter(single.traced, trace_program(model, grown(example_inputs, 1), settings))
        if _groups(both.traced) == _groups(both.twin) and _constants_agree(both):
            both({})
            return both
    except (TraceError, ModelError) as error:
        logger.info("the exported graph takes batches of one size only: %s", error)
    return single


def _again(model: nn.Module, inputs: Any, heads: bool, inexact: bool) -> Rewriter:
    return make_rewriter(model, inputs, heads=heads, inexact=inexact)


def _groups(traced: Traced | None) -> Any:
    groups = () if traced is None else traced.graph.groups
    return [
        (g.name, g.size, [(a.parameter, a.dim, a.indices.tolist()) for a in g.axes])
        for g in groups
        if g.prunable
    ]


def _constants_agree(both: Rewriter) -> bool:
    """Whether both graphs use the same tensors and equal constants."""
    assert both.twin is not None
    first, second = state_order(both.traced), state_order(both.twin)
    return len(first) == len(second) and all(
        a == b if isinstance(a, str) or isinstance(b, str) else a.shape == b.shape and torch.equal(a, b)
        for a, b in zip(first, second, strict=True)
    )
