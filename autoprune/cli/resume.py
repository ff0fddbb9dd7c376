"""`autoprune resume`: go on with a search that was stopped."""

from pathlib import Path
from typing import Annotated

import typer

from autoprune.cli.options import (
    AsJson,
    Device,
    Finetune,
    MLflowToo,
    Progress,
    Quiet,
    RecordedData,
    RecordedModel,
    Shown,
    TensorBoardToo,
)


def resume(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="The folder that `search --run-dir` was given.")
    ],
    episodes: Annotated[
        int | None,
        typer.Option(
            "--episodes", "-n", metavar="N", help="New total; by default what the run started with."
        ),
    ] = None,
    model: RecordedModel = None,
    data: RecordedData = None,
    storage: Annotated[
        str | None, typer.Option("--storage", metavar="URL", help="By default what the run was started with.")
    ] = None,
    device: Device = None,
    finetune_epochs: Finetune = 0,
    tensorboard: TensorBoardToo = False,
    mlflow: MLflowToo = None,
    progress: Progress = Shown.bar,
    quiet: Quiet = False,
    json: AsJson = False,
) -> None:
    """Go on with a search that was stopped: exactly the episodes that it would have run.

    Example: `autoprune resume runs/r20`
    """
    import autoprune
    from autoprune.cli.console import show
    from autoprune.cli.listen import listener
    from autoprune.cli.progress import SearchProgress
    from autoprune.cli.report import report
    from autoprune.cli.shapes import load_data
    from autoprune.cli.trackers import trackers
    from autoprune.errors import RunError
    from autoprune.locate import load_model
    from autoprune.run.directory import RunDirectory

    directory = RunDirectory(run_dir)
    if not directory.config_path.is_file():
        raise RunError(
            f"RUN_DIR '{run_dir}' holds no run (no config.json); start one with `autoprune search`"
        )
    config = directory.read_config()
    network = load_model(_source("--model", model, config.model.source))
    splits = load_data(_source("--data", data, config.data.source))
    settings = config.settings.model_dump()
    if device is not None:
        settings["device"] = device
    further = trackers(run_dir, tensorboard, mlflow)
    with listener(SearchProgress, progress, quiet) as seen:
        result = autoprune.resume(
            run_dir,
            model=network,
            data=splits,
            episodes=episodes,
            callbacks=[seen, *further],
            storage=storage,
            device=device,
        )
        inputs = directory.read_inputs()
        shown = report(result, network, inputs, splits, settings, finetune_epochs, seen, json=json)
    show(shown)


def _source(option: str, given: str | None, recorded: str | None) -> str:
    from autoprune.errors import ArgumentError

    if given is None and recorded is None:
        raise ArgumentError(f"the run does not record where this came from: give {option} MODULE:CALLABLE")
    return given or recorded or ""
