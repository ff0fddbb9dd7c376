"""A search that goes on where it was stopped."""

import logging
from dataclasses import replace
from os import PathLike
from typing import Any

from torch import nn

from autoprune.budget import Budget
from autoprune.data import Splits
from autoprune.errors import ArgumentError, RunError
from autoprune.graph.export import unwrap
from autoprune.io import load
from autoprune.run.checkpoint import Checkpoint
from autoprune.run.checks import check_data, check_model, digest_of, digest_of_inputs, tensors_of
from autoprune.run.config import Machine, RunConfig, Settings, make_settings
from autoprune.run.device import Device, LatencyChoice
from autoprune.run.directory import RunDirectory, opened
from autoprune.run.history import from_row
from autoprune.run.max_drop import with_allowance
from autoprune.run.parts import CUSTOM, Parts
from autoprune.run.problem import Problem, Subject, pose, take_subject
from autoprune.run.result import SearchResult
from autoprune.run.session import Session
from autoprune.run.signals import interruptible
from autoprune.run.study import mirror_of
from autoprune.run.transfer import recorded
from autoprune.surgery import first_difference

logger = logging.getLogger(__name__)


def proceed(
    run_dir: str | PathLike[str],
    model: nn.Module | None,
    example_inputs: Any,
    data: Splits | None,
    overrides: dict[str, Any],
    parts: Parts,
) -> SearchResult:
    """Continue a search; `autoprune.resume` documents arguments and errors.

    Args:
        run_dir: Folder of the run.
        model: The dense network; None makes it from its recorded source.
        example_inputs: None reads the recorded ones.
        data: The data; None makes it from its recorded source.
        overrides: Settings that are new: `episodes`, `device`.
        parts: Objects; a part that is the empty text is taken from the record.
    """
    with interruptible(), opened(run_dir) as directory:
        config = directory.read_config()
        checkpoint = directory.checkpoints.load()
        settings = _renewed(config.settings, overrides, checkpoint)
        model = _made(model, config.model.source, "model") if model is None else model
        data = _made(data, config.data.source, "data") if data is None else data
        _check_model(config, model)
        _check_result(directory, model)
        if example_inputs is None:
            example_inputs = directory.read_inputs()
        elif digest_of_inputs(example_inputs) != config.model.inputs_sha256:
            raise RunError("example_inputs are not those that the run was started with; leave them out")
        subject = take_subject(model, example_inputs, check_data(data), settings)
        _check_images(config, subject)
        parts = replace(_parts(parts, config), init_policy=recorded(directory.path, settings))
        budget = Budget.parse(settings.budget)
        device = Device(LatencyChoice(), budget, directory, parts.stage, settings.round_to)
        told = parts.stage, parts.step
        problem = pose(subject, budget, settings, parts.criterion, *told, costs_of=device.costs)
        device.resume()
        _check_groups(config, problem)
        parts = with_allowance(parts, problem, settings.max_drop)
        same = _same_machine(config)
        session = Session(problem, settings, parts, directory, same_machine=same, device=device)
        rows = [] if checkpoint is None else checkpoint.history
        history = [from_row(row, problem.task.names) for row in rows]
        name = config.study.name
        mirror = mirror_of(parts.storage, name, problem.graph, directory.path, fresh=False, history=history)
        if settings != config.settings:
            directory.write_config(config.model_copy(update={"settings": settings}))
        return session.run(mirror, checkpoint)


def _renewed(settings: Settings, overrides: dict[str, Any], checkpoint: Checkpoint | None) -> Settings:
    changes = {name: value for name, value in overrides.items() if value is not None}
    done = 0 if checkpoint is None else len(checkpoint.history)
    renewed = make_settings(**settings.model_dump() | changes)
    if renewed.episodes < done:
        raise ArgumentError(
            f"episodes must be at least the {done} that the run already has, got {renewed.episodes}"
        )
    return renewed


def _made(given: Any, source: str | None, name: str) -> Any:
    """Make what was not given from its recorded source."""
    if source is None:
        raise RunError(f"the run does not record where its {name} came from; pass {name} to resume")
    from autoprune.locate import call, load_model

    try:
        return load_model(source) if name == "model" else call(source, "--data")
    except ArgumentError as error:
        raise RunError(
            f"the {name} of the run cannot be made again: {error}; pass {name} to resume"
        ) from error


def _check_model(config: RunConfig, model: nn.Module) -> None:
    check_model(model)
    tensors = tensors_of(unwrap(model))
    difference = first_difference(config.model.shapes, {name: tuple(t.shape) for name, t in tensors.items()})
    if difference:
        raise RunError(f"model is not the network that the run was started with: {difference}")
    if digest_of(tensors) != config.model.sha256:
        raise RunError("model is not the network that the run was started with: its weights differ")


def _check_result(directory: RunDirectory, model: nn.Module) -> None:
    """Refuse to go on over a damaged result, which the end of the search would replace."""
    if directory.pruned_path.exists():
        load(directory.pruned_path, model)


def _check_images(config: RunConfig, subject: Subject) -> None:
    for name, digest, before in (
        ("search_val", subject.images.search.digest, config.data.search_sha256),
        ("train", subject.images.calibration.digest, config.data.calibration_sha256),
    ):
        if digest != before:
            raise RunError(
                f"data.{name} does not give the images that the run was started with; pass the same data"
            )


def _check_groups(config: RunConfig, problem: Problem) -> None:
    groups = {group.name: group.size for group in problem.graph.prunable}
    if list(groups.items()) != list(config.groups.items()):
        raise RunError(
            "the trace finds other groups than the run was started with; use the versions of autoprune "
            f"and torch that {config.machine.versions} names"
        )


def _parts(given: Parts, config: RunConfig) -> Parts:
    """Fill what was not given from the record."""
    recorded = {name: getattr(config.settings, name) for name in ("criterion", "reward", "agent")}
    changes: dict[str, Any] = {name: value for name, value in recorded.items() if getattr(given, name) == ""}
    for name, value in changes.items():
        if value.startswith(CUSTOM):
            raise RunError(f"the run was started with a {name} of its own ({value}); pass {name} to resume")
    if given.storage is None and config.study.storage is not None:
        if not config.study.complete:
            raise RunError(
                f"the run keeps its study in '{config.study.storage}', which it could not record in full; "
                "pass storage to resume"
            )
        changes["storage"] = config.study.storage
    return replace(given, **changes)


def _same_machine(config: RunConfig) -> bool:
    here = Machine.here()
    if config.machine == here:
        return True
    logger.warning("the run was started with %s, it goes on with %s", config.machine, here)
    return False
