"""`autoprune inspect`: what can be pruned, what it costs, and what is locked and why."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from autoprune.cli.options import ExampleData, Model, Shapes

if TYPE_CHECKING:
    from rich.table import Table

    from autoprune.graph.types import Group, PruneGraph


def inspect(
    model: Model,
    input_shape: Shapes = None,
    data: ExampleData = None,
    prunable: Annotated[bool, typer.Option("--prunable", help="Leave locked groups out.")] = False,
) -> None:
    """Show which channels must be pruned together, their share of the cost, and what is locked and why.

    Also whether a pruned network is the model's own class or, where its Python code cannot follow, the
    exported graph; a few forward passes of the example input decide that.

    Example: `autoprune inspect --model models:resnet20 --input-shape 1,3,32,32`
    """
    from autoprune.cli.console import out
    from autoprune.cli.shapes import example_inputs, load_data
    from autoprune.graph import trace
    from autoprune.locate import load_model
    from autoprune.surgery import proven

    network = load_model(model)
    inputs = example_inputs(input_shape or (), None if data is None else load_data(data))
    graph = proven(trace(network, inputs))
    console = out()
    console.print(group_table(graph, [g for g in graph.groups if g.prunable or not prunable]))
    console.print(
        f"{len(graph.prunable)} of {len(graph.groups)} groups can be pruned; "
        f"dense: {graph.macs():,} MACs for the example input, {graph.params():,} parameters"
    )
    console.print(f"pruned networks are {form_of(graph)}", soft_wrap=True, markup=False)


def form_of(graph: "PruneGraph") -> str:
    """What a pruned network of this graph is, and why, in words."""
    name = "of the model's own class" if graph.form == "class" else "the rewritten exported graph"
    return f"{name}: {graph.form_reason}" if graph.form_reason else name


def group_table(graph: "PruneGraph", groups: "Sequence[Group]") -> "Table":
    """One row per group; a share is the part of the cost in layers that the group's units run through."""
    from rich.table import Table
    from rich.text import Text

    from autoprune.graph.shares import shares_of

    table = Table(
        title="Groups in network order", caption="A layer counts for its input and its output group alike."
    )
    for heading in ("group", "units", "MACs", "params"):
        table.add_column(heading, justify="left" if heading == "group" else "right", overflow="fold")
    table.add_column("state", overflow="fold")
    for group in groups:
        state = (
            Text("prunable", style="green")
            if group.prunable
            else Text(f"locked: {group.reason}", style="yellow")
        )
        if group.note:
            state.append(f" ({group.note})")
        shares = shares_of(graph, group)
        table.add_row(Text(group.name), str(group.size), *(f"{100 * s:.1f}%" for s in shares), state)
    return table
