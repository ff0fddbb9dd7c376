"""`autoprune criteria`: the criteria that can order the units of a group."""

import inspect


def criteria() -> None:
    """List the criteria that can order the channels of a group, and what each reads.

    Example: `autoprune criteria`
    """
    from rich.table import Table
    from rich.text import Text

    from autoprune.cli.console import out
    from autoprune.criteria import CRITERIA

    table = Table(title="Criteria: a higher score means that the channel stays")
    for heading in ("name", "reads", "what it is", "source"):
        table.add_column(heading, overflow="fold")
    for name, criterion in sorted(CRITERIA.items()):
        what = (inspect.getdoc(criterion) or "").partition("\n\n")[0]
        reads = ", ".join(sorted(criterion.needs)) or "nothing"
        table.add_row(Text(name, style="bold"), reads, Text(" ".join(what.split())), Text(criterion.source))
    out().print(table)
