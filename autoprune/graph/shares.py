"""What part of the network's cost goes through a group."""

from collections.abc import Sequence

from autoprune.graph.types import Group, PruneGraph, Term


def shares_of(graph: PruneGraph, group: Group) -> tuple[float, float]:
    """The part (0 to 1) of dense MACs, and of parameters, in layers that the group's units run through."""
    tensors = {axis.parameter for axis in group.axes}
    layers = {layer.name for layer in graph.layers if tensors & {layer.weight, layer.bias}}
    return _share(graph, graph.mac_terms, group, tensors | layers), _share(
        graph, graph.param_terms, group, tensors
    )


def _share(graph: PruneGraph, terms: Sequence[Term], group: Group, owners: set[str]) -> float:
    dense = graph.widths()
    total = sum(term(dense) for term in terms)
    through = sum(term(dense) for term in terms if term.owner in owners or _enters(term, group.name))
    return through / total if total else 0.0


def _enters(term: Term, name: str) -> bool:
    extents = (*term.factors, *(() if term.divisor is None else (term.divisor,)))
    return any(part == name for extent in extents for part, _ in extent.parts)
