"""`autoprune export`: the result of a run as a file that other programs run."""

from pathlib import Path
from typing import Annotated

import typer

from autoprune.cli.options import Progress, Quiet, RecordedModel, Shapes, Shown


def export(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="onnx, torch or safetensors.")] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="By default pruned.onnx or pruned.pt2 in the run."),
    ] = None,
    dynamic_batch: Annotated[
        bool, typer.Option("--dynamic-batch", help="The program takes batches of any size.")
    ] = False,
    model: RecordedModel = None,
    input_shape: Shapes = None,
    progress: Progress = Shown.bar,
    quiet: Quiet = False,
) -> None:
    """Write the pruned network of a run as a file, read it again, compare and time it.

    Files of the formats onnx and torch run without autoprune and without the network's class.

    Example: `autoprune export runs/r20 --to onnx`
    """
    from autoprune import api
    from autoprune.cli.console import show
    from autoprune.cli.listen import listener
    from autoprune.cli.progress import SearchProgress
    from autoprune.cli.shapes import example_inputs
    from autoprune.locate import load_model

    names = {"onnx": "pruned.onnx", "torch": "pruned.pt2", "safetensors": "exported"}
    with listener(SearchProgress, progress, quiet) as seen:
        seen.on_stage("export")
        made = api.export(
            run_dir,
            out or run_dir / names.get(to, to),
            to=to,
            example_inputs=example_inputs(input_shape, None) if input_shape else None,
            model=None if model is None else load_model(model),
            dynamic_batch=dynamic_batch,
        )
        seen.on_stage("done")
    show([f"Written to {made}."])
