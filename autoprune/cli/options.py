"""Options that several commands share, so that each is worded once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Shown(StrEnum):
    """How progress is shown on stderr."""

    bar = "bar"
    json = "json"
    none = "none"


def _named(flag: str, letter: str, help: str) -> Any:
    """An option that names something in a module."""
    return typer.Option(flag, letter, metavar="MODULE:CALLABLE", help=help)


def _count(flag: str, help: str, **limits: Any) -> Any:
    return typer.Option(flag, metavar="N", help=help, **limits)


RECORDED = "By default what the run was started with."

Model = Annotated[
    str,
    _named(
        "--model", "-m", "What returns the trained network, looked up from the current folder and PYTHONPATH."
    ),
]
Data = Annotated[
    str,
    _named(
        "--data", "-d", "What returns the loaders: an object with train, search_val and, optionally, test."
    ),
]
RecordedModel = Annotated[str | None, _named("--model", "-m", RECORDED)]
RecordedData = Annotated[str | None, _named("--data", "-d", RECORDED)]
ExampleData = Annotated[str | None, _named("--data", "-d", "Take the example input from this data instead.")]
RunDir = Annotated[
    Path | None,
    typer.Option(
        "--run-dir", "-o", metavar="FOLDER", help="New folder for the run; by default one below runs."
    ),
]
Agent = Annotated[
    str, typer.Option("--agent", metavar="NAME", help="ddpg, surrogate, cmaes, random, greedy or uniform.")
]
Episodes = Annotated[
    int,
    typer.Option("--episodes", "-n", metavar="N", help="Candidates to evaluate (for each budget)."),
]
Criterion = Annotated[
    str,
    typer.Option("--criterion", metavar="NAME", help="What orders the channels; see `autoprune criteria`."),
]
SearchImages = Annotated[int, _count("--search-images", "Images of data.search_val that score a candidate.")]
CalibrationImages = Annotated[
    int, _count("--calibration-images", "Images of data.train for the calibration.")
]
FitImages = Annotated[int, _count("--fit-images", "Images of data.train that candidates are re-fitted on.")]
Racing = Annotated[
    bool,
    typer.Option("--racing/--no-racing", help="Stop scoring candidates that are clearly worse than uniform."),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="Of the networks while candidates are scored: float32, bfloat16, or float16 on a GPU.",
    ),
]
LatencyTable = Annotated[
    Path | None,
    typer.Option(
        "--latency-table",
        metavar="FILE",
        help="What `autoprune profile` wrote, for a latency budget; by default measured now.",
    ),
]
Seed = Annotated[int, _count("--seed", "The same seed gives the same result.")]
Finetune = Annotated[
    int,
    _count("--finetune-epochs", "Fine-tune every row of the table equally; 0 leaves that out.", min=0),
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
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="The same as --progress none.")]
Progress = Annotated[
    Shown,
    typer.Option(
        "--progress",
        metavar="HOW",
        help="bar, json (one object per line, for programs) or none; on stderr, the result is on stdout.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
TensorBoardToo = Annotated[
    bool, typer.Option("--tensorboard", help="Write every episode to the folder `tensorboard` of the run.")
]
MLflowToo = Annotated[
    str | None,
    typer.Option("--mlflow", metavar="EXPERIMENT", help="Write every episode to this MLflow experiment."),
]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, ...; by default where the network is."),
]
