"""Options that several commands share, so that each is worded once."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODULE:CALLABLE",
        help="What returns the trained network, looked up from the current folder and PYTHONPATH.",
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        "-d",
        metavar="MODULE:CALLABLE",
        help="What returns the loaders: an object with train, search_val and, optionally, test.",
    ),
]
Finetune = Annotated[
    int,
    typer.Option(
        "--finetune-epochs",
        metavar="N",
        min=0,
        help="Fine-tune every row of the table equally; 0 leaves that out.",
    ),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="N,C,H,W",
        help="Shape of the network's input, batch first; repeat it for several inputs.",
    ),
]
Plan = Annotated[
    Path,
    typer.Option(
        "--plan", metavar="FILE", help="A plan.json, or a folder that holds one (a run for example)."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; only the result, on stdout.")]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, ...; by default where the network is."),
]
