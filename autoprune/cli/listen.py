"""Who shows the progress of a command: a bar, JSON lines, or nobody."""

from typing import TYPE_CHECKING, TypeVar

from autoprune.cli.options import Shown

if TYPE_CHECKING:
    from autoprune.cli.bar import Bar
    from autoprune.cli.events import Events

    Drawn = TypeVar("Drawn", bound=Bar)


def listener(bar: "type[Drawn]", shown: Shown, quiet: bool) -> "Drawn | Events":
    """What listens to the work, as a context manager around it.

    Args:
        bar: Draws it on a terminal.
        shown: What the user asked for.
        quiet: The short way to ask for none.
    """
    from autoprune.cli.console import err
    from autoprune.cli.events import Events

    if shown is Shown.json and not quiet:
        return Events()
    return bar(err(), quiet or shown is Shown.none)
