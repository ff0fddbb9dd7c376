"""`autoprune search`: from a trained network and a budget to a smaller network."""

from pathlib import Path
from typing import Annotated, Any

import typer

from autoprune.cli.options import (
    Agent,
    AsJson,
    CalibrationImages,
    Criterion,
    Data,
    Device,
    Episodes,
    Finetune,
    FitImages,
    LatencyTable,
    MLflowToo,
    Model,
    Precision,
    Progress,
    Quiet,
    Racing,
    RunDir,
    SearchImages,
    Seed,
    Shapes,
    Shown,
    TensorBoardToo,
)


def search(
    model: Model,
    data: Data,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            "-b",
            metavar="COST=BOUND",
            help="Hard upper bound: macs=50%, params=0.5M, or latency=60%,size=2MB (all hold).",
        ),
    ] = None,
    run_dir: RunDir = None,
    episodes: Episodes = 200,
    agent: Agent = "ddpg",
    criterion: Criterion = "obs",
    reward: Annotated[
        str, typer.Option("--reward", metavar="NAME", help="kl, accuracy or accuracy_guaranteed.")
    ] = "kl",
    seed: Seed = 0,
    device: Device = None,
    round_to: Annotated[
        str | None,
        typer.Option(
            "--round-to",
            metavar="N|auto",
            help="Round widths down to multiples of N (8 suits GPUs), or to what the latency table shows; "
            "by default auto with a latency budget, otherwise 1.",
        ),
    ] = None,
    lower: Annotated[
        float,
        typer.Option("--lower", metavar="RATIO", help="Smallest share of its units that a group keeps."),
    ] = 0.1,
    floor_units: Annotated[
        int,
        typer.Option("--floor-units", metavar="N", help="Smallest number of units that a group keeps."),
    ] = 1,
    include_groups: Annotated[
        list[str] | None,
        typer.Option(
            "--include", metavar="PATTERN", help="Prune only groups of such a name; repeat it for several."
        ),
    ] = None,
    exclude_groups: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            metavar="PATTERN",
            help="Leave groups of such a name dense ('head.*'); repeat it for several.",
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--form",
            metavar="NAME",
            help="What comes back: class (the network's own), graph (the rewritten exported graph), or auto: "
            "the first that is proven.",
        ),
    ] = "auto",
    heads: Annotated[
        bool,
        typer.Option("--heads/--no-heads", help="Prune attention by whole heads, or inside all heads alike."),
    ] = True,
    inexact: Annotated[
        bool,
        typer.Option(
            "--inexact/--no-inexact", help="Prune also channels that a layer normalization runs over."
        ),
    ] = False,
    search_images: SearchImages = 512,
    calibration_images: CalibrationImages = 2000,
    fit_images: FitImages = 128,
    racing: Racing = False,
    precision: Precision = "float32",
    storage: Annotated[
        str | None,
        typer.Option("--storage", metavar="URL", help="Optuna storage instead of a file in the run folder."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            metavar="POINTS",
            help="Search the smallest network that loses at most so many points of accuracy.",
        ),
    ] = None,
    latency_table: LatencyTable = None,
    allow_foreign_table: Annotated[
        bool,
        typer.Option(
            "--allow-foreign-table",
            help="Accept a latency table of another machine, thread count or library version.",
        ),
    ] = False,
    init_policy: Annotated[
        Path | None,
        typer.Option(
            "--init-policy",
            metavar="FOLDER",
            help="Go on with a policy that was learned before, or with that of a finished run.",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", metavar="N", help="Processes that evaluate candidates side by side."),
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS|local", help="Let actors of this Ray cluster be the workers."),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show also where the seconds of the search went.")
    ] = False,
    finetune_epochs: Finetune = 0,
    input_shape: Shapes = None,
    tensorboard: TensorBoardToo = False,
    mlflow: MLflowToo = None,
    progress: Progress = Shown.bar,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Search the layer-wise pruning ratios of a trained network under a hard budget.

    The final table compares the dense network, uniform ratios, the greedy allocation and what was found; the
    test set (data.test) is looked at only then. Ctrl-C finishes with the best so far; `autoprune resume` goes
    on from there.

    Example: `autoprune search -m models:resnet20 -d data:splits -b macs=50% -n 200 -o runs/r20`
    """
    import autoprune
    from autoprune.cli.console import err, show
    from autoprune.cli.listen import listener
    from autoprune.cli.progress import SearchProgress
    from autoprune.cli.report import report
    from autoprune.cli.runs import default_run_dir
    from autoprune.cli.shapes import example_inputs, load_data
    from autoprune.cli.trackers import trackers
    from autoprune.errors import ArgumentError
    from autoprune.locate import load_model

    if budget is None and max_drop is None:
        raise ArgumentError("give --budget, for example macs=50%, or --max-drop, for example 1.0")
    budget = "macs=100%" if budget is None else budget
    network, splits = load_model(model), load_data(data)
    inputs = example_inputs(input_shape, None) if input_shape else None
    settings: dict[str, Any] = {
        "budget": budget,
        "agent": agent,
        "episodes": episodes,
        "criterion": criterion,
        "reward": reward,
        "seed": seed,
        "device": device,
        "round_to": None if round_to is None else _multiple(round_to),
        "lower": lower,
        "floor_units": floor_units,
        "include": tuple(include_groups or ()),
        "exclude": tuple(exclude_groups or ()),
        "form": form,
        "heads": heads,
        "inexact": inexact,
        "search_images": search_images,
        "calibration_images": calibration_images,
        "fit_images": fit_images,
        "racing": racing,
        "precision": precision,
    }
    folder = run_dir or default_run_dir(model)
    further = trackers(folder, tensorboard, mlflow)
    with listener(SearchProgress, progress, quiet) as seen:
        result = autoprune.search(
            network,
            inputs,
            splits,
            **settings,
            run_dir=folder,
            storage=storage,
            max_drop=max_drop,
            latency_table=latency_table,
            allow_foreign_table=allow_foreign_table,
            init_policy=init_policy,
            workers=workers,
            ray=ray,
            callbacks=[seen, *further],
            model_source=model,
            data_source=data,
        )
        shown = report(result, network, inputs, splits, settings, finetune_epochs, seen, json=json)
    if profile:
        err().print(f"Where the time went:\n{result.timings.table()}", markup=False, soft_wrap=True)
    show(shown)


def _multiple(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text
