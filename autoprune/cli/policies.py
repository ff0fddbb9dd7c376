"""`autoprune policies`: learned policies in a folder or object storage."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoprune.cli.options import ExampleData, Shapes

if TYPE_CHECKING:
    from autoprune.agents import PolicyStore

Store = Annotated[
    str,
    typer.Option(
        "--store",
        "-s",
        metavar="FOLDER|URL",
        envvar="AUTOPRUNE_POLICIES",
        help="Where the policies are: a folder, or a URL such as s3://bucket/policies.",
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the policy in the store.")]

DEFAULT = "policies"

policies = typer.Typer(
    help="Keep learned policies and find the one for a new network.",
    no_args_is_help=True,
    add_completion=False,
)


@policies.command("list")
def list_policies(store: Store = DEFAULT) -> None:
    """List the policies of a store.

    Example: `autoprune policies list --store s3://bucket/policies`
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from autoprune.cli.console import show
    from autoprune.errors import ArgumentError

    opened = _store(store)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("policy", "learned on", "budgets", "episodes", "best reward"):
        table.add_column(
            heading, justify="left" if heading in ("policy", "learned on", "budgets") else "right"
        )
    for name in opened.names():
        try:
            card = opened.card(name)
        except ArgumentError as error:
            table.add_row(Text(name), Text(f"cannot be read: {error}"))
            continue
        networks = ", ".join(f"{s.name} ({s.groups} groups)" for s in card.sources)
        score = "" if card.score is None else f"{card.score:.4f}"
        cells = (name, networks, ", ".join(card.budgets), str(card.episodes), score)
        table.add_row(*map(Text, cells))
    show([table if table.rows else f"no policies in '{store}'"])


@policies.command("show")
def show_policy(name: Name, store: Store = DEFAULT) -> None:
    """Show what is known of a policy.

    Example: `autoprune policies show r20`
    """
    from autoprune.cli.console import show

    show(_store(store).card(name).lines())


@policies.command("add")
def add_policy(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder of a policy, or of a finished run.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="New name; by default that of the folder.")
    ] = None,
    store: Store = DEFAULT,
) -> None:
    """Put a policy into a store.

    Example: `autoprune policies add runs/r20 --name r20`
    """
    from autoprune.agents import Policy
    from autoprune.cli.console import show
    from autoprune.run.transfer import policy_folder

    chosen = name or folder.resolve().name
    _store(store).add(Policy.load(policy_folder(folder)), chosen)
    show([f"added '{chosen}' to {store}"])


@policies.command("get")
def get_policy(
    name: Name,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="The new folder.")],
    store: Store = DEFAULT,
) -> None:
    """Copy a policy from a store to a folder, after checking it.

    Example: `autoprune policies get r20 --store https://example.org/policies --out r20`
    """
    from autoprune.cli.console import show

    show([f"saved to {_store(store).get(name, out)}"])


@policies.command("best-for")
def best_for(
    model: Annotated[
        str, typer.Argument(metavar="MODULE:CALLABLE", help="What returns the network, trained or not.")
    ],
    input_shape: Shapes = None,
    data: ExampleData = None,
    store: Store = DEFAULT,
) -> None:
    """Rank the policies of a store by how much alike their networks and a new one are.

    Example: `autoprune policies best-for models:resnet56 --input-shape 1,3,32,32`
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from autoprune.cli.console import show
    from autoprune.cli.shapes import example_inputs, load_data
    from autoprune.graph import trace
    from autoprune.locate import load_model

    network = load_model(model)
    inputs = example_inputs(input_shape or (), None if data is None else load_data(data))
    ranked = _store(store).best_for(trace(network, inputs))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("policy", "similarity", "distance", "furthest group", "learned on"):
        table.add_column(heading, justify="right" if heading in ("similarity", "distance") else "left")
    for name, alike, card in ranked:
        furthest = f"{alike.furthest}" + (" (very different network)" if alike.far else "")
        networks = ", ".join(source.name for source in card.sources)
        cells = (name, f"{100 * alike.similarity:.0f}%", f"{alike.distance:.3f}", furthest, networks)
        table.add_row(*map(Text, cells))
    show([table if ranked else f"no policies in '{store}'"])


def _store(url: str) -> "PolicyStore":
    from autoprune.agents import PolicyStore

    return PolicyStore(url)
