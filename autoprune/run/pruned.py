"""What a finished run holds, ready to be used."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.errors import ArgumentError, RunError
from autoprune.io import PLAN, load
from autoprune.plan import Plan
from autoprune.run.directory import RunDirectory


@dataclass(frozen=True, eq=False)
class PrunedRun:
    """The result of a run.

    Attributes:
        model: The pruned network.
        plan: Its plan.
        example_inputs: Those of the search.
    """

    model: nn.Module
    plan: Plan
    example_inputs: Any


def read_pruned(run_dir: str | PathLike[str], model: nn.Module | None = None) -> PrunedRun:
    """Read the pruned network of a finished run; nothing is changed.

    Args:
        run_dir: Folder of the run.
        model: The dense network; None makes it from its recorded source.

    Raises:
        RunError: No run there, not finished, or it is not recorded where the network came from.
        PlanError: A file is damaged, or belongs to another network.
    """
    directory = RunDirectory(Path(run_dir))
    if not directory.config_path.is_file():
        raise RunError(f"'{run_dir}' holds no run (no config.json); start one with autoprune.search")
    if not directory.pruned_path.is_dir():
        raise RunError(f"'{run_dir}' holds no result yet; finish it with autoprune.resume")
    dense = _dense(directory.read_config().model.source) if model is None else model
    return PrunedRun(
        model=load(directory.pruned_path, dense),
        plan=Plan.load(directory.pruned_path / PLAN),
        example_inputs=directory.read_inputs(),
    )


def _dense(source: str | None) -> nn.Module:
    from autoprune.locate import load_model

    if source is None:
        raise RunError("the run does not record where its model came from; pass model")
    try:
        return load_model(source)
    except ArgumentError as error:
        raise RunError(f"the model of the run cannot be made again: {error}; pass model") from error
