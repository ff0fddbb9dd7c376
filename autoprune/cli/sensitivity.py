"""`autoprune sensitivity`: what pruning one group alone costs, for all groups."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli.options import (
    CalibrationImages,
    Criterion,
    Data,
    Device,
    FitImages,
    Model,
    Progress,
    Quiet,
    SearchImages,
    Seed,
    Shapes,
    Shown,
)

if TYPE_CHECKING:
    from autoprune.sensitivity import Sensitivity


def sensitivity(
    model: Model,
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Folder for table, CSV, plot and points; the same folder goes on where it was stopped.",
        ),
    ] = None,
    ratios: Annotated[
        str,
        typer.Option("--ratios", metavar="R,R,...", help="Pruning ratios: the share of the units that goes."),
    ] = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--groups",
            metavar="PATTERN",
            help="Only groups of such a name ('layer3.*'); repeat it for several.",
        ),
    ] = None,
    criterion: Criterion = "obs",
    reconstruct: Annotated[
        bool, typer.Option("--reconstruct/--no-reconstruct", help="Fit the weights of what is left.")
    ] = True,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", metavar="NAME", help="What table and plot show: accuracy, loss, kl or error."
        ),
    ] = None,
    search_images: SearchImages = 512,
    calibration_images: CalibrationImages = 2000,
    fit_images: FitImages = 128,
    seed: Seed = 0,
    device: Device = None,
    input_shape: Shapes = None,
    progress: Progress = Shown.bar,
    quiet: Quiet = False,
) -> None:
    """Prune every group alone, ratio by ratio, and measure what that costs.

    Beside accuracy, loss and KL divergence stands the reconstruction error, which needs no evaluation, and
    how well the two agree. The test set (data.test) is not looked at.

    Example: `autoprune sensitivity -m models:resnet20 -d data:splits -o sensitivity/r20`
    """
    import autoprune
    from autoprune.cli.console import show
    from autoprune.cli.listen import listener
    from autoprune.cli.point_progress import PointProgress
    from autoprune.cli.shapes import example_inputs, load_data
    from autoprune.locate import load_model
    from autoprune.sensitivity.point import check_metric

    shares = _ratios(ratios)
    if metric is not None:
        check_metric(metric)
    network, splits = load_model(model), load_data(data)
    inputs = example_inputs(input_shape, None) if input_shape else None
    with listener(PointProgress, progress, quiet) as seen:
        result = autoprune.sensitivity(
            network,
            inputs,
            splits,
            ratios=shares,
            criterion=criterion,
            reconstruct=reconstruct,
            search_images=search_images,
            calibration_images=calibration_images,
            fit_images=fit_images,
            groups=only or None,
            seed=seed,
            device=device,
            path=None if out is None else out / "points.json",
            on_point=seen.on_point,
            on_stage=seen.on_stage,
        )
    shown: list[Any] = [result.table(metric)]
    if out is not None:
        shown.append(_written(result, out, metric))
    show(shown)


def _ratios(text: str) -> tuple[float, ...]:
    from autoprune.errors import ArgumentError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ArgumentError(f"--ratios must be numbers like 0.25,0.5,0.75, got '{text}'") from error


def _written(result: "Sensitivity", folder: Path, metric: str | None) -> str:
    """Write table, CSV and, where matplotlib is installed, the plot; say what lies where."""
    from autoprune.errors import ArgumentError, RunError
    from autoprune.files import write_text

    try:
        write_text(folder / "sensitivity.txt", result.table(metric) + "\n")
        result.to_csv(folder / "sensitivity.csv")
        names, note = "sensitivity.txt, sensitivity.csv, sensitivity.png", ""
        try:
            result.plot(folder / "sensitivity.png", metric)
        except ArgumentError as error:
            names, note = "sensitivity.txt, sensitivity.csv", f"\nThere is no plot: {error}"
    except OSError as error:
        raise RunError(
            f"cannot write to '{folder}': {error.strerror or error}; name another --out"
        ) from error
    return f"Written to {folder}: {names}, points.json{note}"
