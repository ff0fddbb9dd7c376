"""From units that stay to a plan."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from autoprune.errors import ArgumentError
from autoprune.graph import PruneGraph
from autoprune.plan.inputs import describe_inputs
from autoprune.plan.schema import Costs, Exported, Kept, Plan, jsonable
from autoprune.surgery.changes import Surgery
from autoprune.surgery.compare import dtype_of
from autoprune.surgery.tensors import fingerprint


def make_plan(
    graph: PruneGraph,
    model: nn.Module,
    keep: Mapping[str, Sequence[int]],
    info: Mapping[str, Any] | None = None,
) -> Plan:
    """Work out all that applying a candidate needs.

    Args:
        graph: The graph of the network; the plan takes its form (see `autoprune.surgery.proven`).
        model: The dense network that the graph was traced from; untouched.
        keep: Unit indices that stay, by group name; missing groups stay whole.
        info: Where the plan comes from: criterion, seed, budget and the like; anything that JSON can hold.

    Returns:
        The plan, with MACs (of the example inputs of the trace) and parameters.

    Raises:
        ArgumentError: `keep` names an unknown or locked group, or units that do not exist; or the graph
            was not traced from this model.
        PlanError: `info` is not JSON.
        ModelError: The surgery is impossible for a module.
    """
    if not isinstance(keep, Mapping):
        raise ArgumentError(f"keep must map group names to unit indices, got {type(keep).__name__}")
    surgery = Surgery(graph, model)(keep)
    full = graph.keep(keep)
    widths = {name: len(units) for name, units in full.items()}
    groups = {
        g.name: Kept(size=g.size, keep=_ints(full[g.name])) for g in graph.groups if widths[g.name] < g.size
    }
    return Plan(
        fingerprint=fingerprint(model),
        groups=groups,
        slices={name: {dim: _ints(s) for dim, s in dims.items()} for name, dims in surgery.slices.items()},
        modules={path: dict(values) for path, values in surgery.modules.items()},
        costs=Costs(
            dense={"macs": graph.macs(), "params": graph.params()},
            found={"macs": graph.macs(widths), "params": graph.params(widths)},
        ),
        info=jsonable(info),
        inputs=None if graph.inputs is None else describe_inputs(graph.inputs, dtype_of(model)),
        form=graph.form,
        inexact=tuple(name for name in groups if not graph.group(name).exact),
        exported=_exported(graph) if graph.form == "graph" else None,
    )


def _exported(graph: PruneGraph) -> Exported:
    return Exported(
        reason=graph.form_reason or "asked for",
        heads=graph.heads,
        inexact=graph.inexact,
    )


def _ints(indices: Iterable[int]) -> tuple[int, ...]:
    return tuple(int(i) for i in indices)
