"""The callbacks that the options `--tensorboard` and `--mlflow` ask for."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoprune.run.callbacks import Callback


def trackers(run_dir: Path, tensorboard: bool, experiment: str | None) -> "list[Callback]":
    """What writes the episodes elsewhere too.

    Args:
        run_dir: Folder of the run; TensorBoard's files go to its folder `tensorboard`.
        tensorboard: Whether to write those.
        experiment: MLflow's experiment, or None.

    Raises:
        ArgumentError: A package is not installed.
    """
    found: list[Callback] = []
    if tensorboard:
        from autoprune.report.tensorboard import TensorBoard

        found.append(TensorBoard(run_dir / "tensorboard"))
    if experiment is not None:
        from autoprune.report.mlflow import MLflow

        found.append(MLflow(experiment))
    return found
