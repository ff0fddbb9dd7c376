"""The entry point of this package: a model and example inputs in, a `PruneGraph` out."""

from typing import Any

from torch import nn

from autoprune.graph import rules  # noqa: F401  (registers the rules)
from autoprune.graph.costs import Extents, layers, mac_terms, param_terms
from autoprune.graph.export import export, unwrap
from autoprune.graph.rewrite import Traced
from autoprune.graph.settle import settle
from autoprune.graph.tracer import Settings, Tracer
from autoprune.graph.types import PruneGraph
from autoprune.graph.units import bundle
from autoprune.graph.walk import walk


def trace(model: nn.Module, example_inputs: Any, *, heads: bool = True, inexact: bool = False) -> PruneGraph:
    """Find out which channels of a network must be pruned together, and what every candidate costs.

    The model is exported in eval mode by `torch.export`; every submodule's own mode is restored. What the
    tracer has no exact rule for is locked with a reason and stays dense.

    Args:
        model: The network, on any device. DataParallel and `torch.compile` wrappers are taken off.
        example_inputs: A tensor, a tuple of positional arguments or a dict of keyword arguments of `forward`.
            MACs are counted for exactly these, their batch included.
        heads: Units of attention are whole heads: queries, keys, values and output projection together. Else
            they are one channel of every head: of queries with keys, and of values, each a group. Where the
            model's own class cannot follow, `autoprune.proven` takes the rewritten graph. To prune both,
            prune one and trace the result for the other.
        inexact: Leave channels prunable that a layer normalization runs over, with a note on the group.
            Removing them changes the statistics of those that stay, so that the pruned network no longer
            equals the masked one. `autoprune.verify` then compares the two forms with each other instead.

    Returns:
        Groups in network order, layers, exact MAC and parameter terms.

    Raises:
        ArgumentError: `model` or `example_inputs` is of the wrong type.
        TraceError: The model does not run on the inputs, or `torch.export` refuses it.
    """
    return trace_program(model, example_inputs, Settings(inexact=inexact, heads=heads)).graph


def trace_program(model: nn.Module, example_inputs: Any, settings: Settings | None = None) -> Traced:
    """As `trace`, with everything that `autoprune.graph.rewrite` needs.

    Args:
        model: As for `trace`.
        example_inputs: As for `trace`.
        settings: What the trace may do beyond the exact and unconditional.

    Raises:
        ArgumentError: As `trace`.
        TraceError: As `trace`.
    """
    tracer = Tracer(export(unwrap(model), example_inputs), settings or Settings())
    values = walk(tracer)
    settle(tracer)
    groups, units = bundle(tracer)
    extents = Extents(tracer, {root: name for name, roots in units.items() for root in roots})
    graph = PruneGraph(
        groups=tuple(groups),
        layers=layers(extents),
        mac_terms=mac_terms(extents),
        param_terms=param_terms(extents),
        fingerprint=dict(tracer.exported.fingerprint),
        model=unwrap(model),
        inputs=example_inputs,
        heads=tracer.settings.heads,
        inexact=tracer.settings.inexact,
    )
    return Traced(graph, tracer, values, units)
