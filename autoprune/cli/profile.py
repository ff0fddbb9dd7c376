"""`autoprune profile`: times of layers on this machine, for latency budgets."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoprune.cli.options import ExampleData, Progress, Quiet, Shapes, Shown

if TYPE_CHECKING:
    from autoprune.latency import LatencyTable, Requests


def profile(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE", help="The table; one that exists gets what is new."),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="MODULE:CALLABLE", help="What returns the network."),
    ] = None,
    input_shape: Shapes = None,
    data: ExampleData = None,
    requests: Annotated[
        Path | None,
        typer.Option(
            "--requests", metavar="FILE", help="Measure a list of layers from another machine instead."
        ),
    ] = None,
    write_requests: Annotated[
        bool,
        typer.Option(
            "--write-requests", help="Measure nothing: write the list of layers to --out, to be carried."
        ),
    ] = False,
    merge: Annotated[
        list[Path] | None,
        typer.Option("--merge", metavar="FILE", help="Further tables of this target to take in; repeat it."),
    ] = None,
    backend: Annotated[
        str, typer.Option("--backend", metavar="NAME", help="eager, compile or onnxruntime.")
    ] = "eager",
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", min=1, help="By default what PyTorch uses.")
    ] = None,
    points: Annotated[
        int | None,
        typer.Option("--points", metavar="N", help="Values per width, about: 17, for compile 5."),
    ] = None,
    repeats: Annotated[
        int, typer.Option("--repeats", metavar="N", min=1, help="Timed runs of a point; their median counts.")
    ] = 20,
    progress: Progress = Shown.bar,
    quiet: Quiet = False,
) -> None:
    """Measure every distinct layer of a network over a grid of widths, once, for `search --latency-table`.

    For another machine: `--write-requests` here, `--requests` there, and the table comes back.

    Example: `autoprune profile --model models:resnet20 --input-shape 1,3,32,32 --out table.json`
    """
    from autoprune.cli.console import show
    from autoprune.cli.layer_progress import LayerProgress
    from autoprune.cli.listen import listener
    from autoprune.errors import ArgumentError
    from autoprune.latency import LatencyTable, Requests, measure

    if (model is None) == (requests is None):
        raise ArgumentError("give either --model or --requests")
    if requests is not None:
        wanted = Requests.load(requests)
    else:
        wanted = _requests(str(model), input_shape, data, backend, threads, points)
    if write_requests:
        wanted.save(out)
        show([f"{_counted(wanted)} to measure are in {out}: autoprune profile --requests {out} --out FILE"])
        return
    known = [LatencyTable.load(path) for path in (*([out] if out.exists() else []), *(merge or ()))]
    with listener(LayerProgress, progress, quiet) as seen:
        table = measure(wanted, repeats=repeats, on_layer=seen.on_layer)
    for other in reversed(known):
        table = other.merged(table)
    table.save(out)
    show([_summary(table, out)])


def _requests(
    model: str,
    shapes: Sequence[str] | None,
    data: str | None,
    backend: str,
    threads: int | None,
    points: int | None,
) -> "Requests":
    from autoprune.cli.shapes import example_inputs, load_data
    from autoprune.graph import trace_program
    from autoprune.latency import requests_of, segments_of
    from autoprune.latency.profile import target_of
    from autoprune.locate import load_model

    network = load_model(model)
    inputs = example_inputs(shapes or (), None if data is None else load_data(data))
    segments = segments_of(trace_program(network, inputs))
    return requests_of(segments, target_of(inputs, network, backend, threads), points=points)


def _counted(wanted: "Requests") -> str:
    return f"{len(wanted.layers)} layers at {sum(len(w.points) for w in wanted.layers)} points"


def _summary(table: "LatencyTable", path: Path) -> str:
    target = table.target
    return (
        f"{len(table.layers)} layers are in {path}: {target.machine}, {target.backend}, {target.threads} "
        f"threads, batch {target.batch}, {target.dtype}. In Python: autoprune.search(..., 'latency=60%', "
        f"latency_table='{path}')"
    )
