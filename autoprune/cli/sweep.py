"""`autoprune sweep`: several budgets, and what is to be had for which cost."""

from pathlib import Path
from typing import Annotated

import typer

from autoprune.cli.options import (
    Agent,
    AsJson,
    Data,
    Device,
    Episodes,
    LatencyTable,
    Model,
    Precision,
    Progress,
    Quiet,
    Racing,
    Seed,
    Shapes,
    Shown,
)


def sweep(
    model: Model,
    data: Data,
    budgets: Annotated[
        str,
        typer.Option(
            "--budgets",
            "-b",
            metavar="BUDGET,BUDGET,...",
            help="One budget per point, loose ones first; join limits of one budget with '+'.",
        ),
    ],
    run_dir: Annotated[
        Path,
        typer.Option(
            "--run-dir",
            "-o",
            metavar="FOLDER",
            help="A run per budget, sweep.csv; the same command goes on there.",
        ),
    ],
    episodes: Episodes = 200,
    agent: Agent = "ddpg",
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the front as PNG, SVG or PDF.")
    ] = None,
    latency_table: LatencyTable = None,
    racing: Racing = False,
    precision: Precision = "float32",
    seed: Seed = 0,
    device: Device = None,
    input_shape: Shapes = None,
    progress: Progress = Shown.bar,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Search several budgets, each starting from the last, and show the front of cost and score.

    Example: `autoprune sweep -m models:resnet20 -d data:splits -b macs=70%,macs=50%,macs=30% -o sweep`
    """
    from autoprune import api
    from autoprune.cli.as_json import as_json
    from autoprune.cli.console import show
    from autoprune.cli.listen import listener
    from autoprune.cli.progress import SearchProgress
    from autoprune.cli.shapes import example_inputs, load_data
    from autoprune.locate import load_model
    from autoprune.run.sweep import CSV_NAME

    network, splits = load_model(model), load_data(data)
    with listener(SearchProgress, progress, quiet) as seen:
        result = api.sweep(
            network,
            example_inputs(input_shape, None) if input_shape else None,
            splits,
            [text.replace("+", ",") for text in budgets.split(",")],
            agent=agent,
            run_dir=run_dir,
            episodes=episodes,
            seed=seed,
            device=device,
            baselines=(),
            latency_table=latency_table,
            racing=racing,
            precision=precision,
            callbacks=[seen],
            model_source=model,
            data_source=data,
        )
    if plot is not None:
        result.plot(plot)
    if json:
        show([as_json({"run_dir": run_dir, "cost": result.cost, "points": result.rows()})])
        return
    drawn = f" The plot is in {plot}." if plot is not None else ""
    lines = [f"Plans, one per point, are in {run_dir}/*/pruned; all numbers in {run_dir / CSV_NAME}.{drawn}"]
    show([result.table(), *lines])
