"""A new search."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from os import PathLike
from typing import TYPE_CHECKING

from autoprune.budget import Budget
from autoprune.run.checks import digest_of, digest_of_inputs, tensors_of
from autoprune.run.config import DataRecord, ModelRecord, RunConfig, Settings, StudyRecord
from autoprune.run.device import Device, LatencyChoice
from autoprune.run.directory import RunDirectory, created
from autoprune.run.max_drop import with_allowance
from autoprune.run.parts import Parts, Sources
from autoprune.run.problem import Problem, Subject, pose
from autoprune.run.result import SearchResult
from autoprune.run.session import Session
from autoprune.run.signals import interruptible
from autoprune.run.study import hidden, mirror_of
from autoprune.run.transfer import INIT_NAME

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def start(
    subject_of: Callable[[], Subject],
    budget: Budget,
    settings: Settings,
    parts: Parts,
    sources: Sources,
    run_dir: str | PathLike[str] | None,
    study_name: str | None,
    latency: LatencyChoice | None = None,
) -> SearchResult:
    """Run a new search; `autoprune.search` documents arguments and errors.

    Args:
        subject_of: Checks network and inputs; called once the run directory is known to be usable.
        budget: Upper bounds.
        settings: Plain values, to be recorded.
        parts: Objects.
        sources: Where model and data came from.
        run_dir: New folder, or None.
        study_name: Name of the study; None takes `autoprune`, made unique where the storage is shared.
        latency: Which latency table is used; None measures one where the budget asks for it.
    """
    with interruptible(), _directory(run_dir) as directory:
        subject = subject_of()
        device = Device(latency or LatencyChoice(), budget, directory, parts.stage, settings.round_to)
        told = parts.stage, parts.step
        problem = pose(subject, budget, settings, parts.criterion, *told, costs_of=device.costs)
        parts = with_allowance(parts, problem, settings.max_drop)
        session = Session(problem, settings, parts, directory, device=device)
        study = _study_record(parts.storage, study_name)
        path = None if directory is None else directory.path
        mirror = mirror_of(parts.storage, study.name, problem.graph, path, fresh=parts.storage is not None)
        if directory is not None:
            config = _config(problem, settings, sources, study)
            directory.write_inputs(subject.example_inputs)
            directory.write_config(config)
            directory.mend()
            device.save()
            if parts.init_policy is not None:
                with directory.writing():
                    parts.init_policy.save(directory.path / INIT_NAME)
        return session.run(mirror)


@contextlib.contextmanager
def _directory(run_dir: str | PathLike[str] | None) -> Iterator[RunDirectory | None]:
    if run_dir is None:
        yield None
        return
    with created(run_dir) as directory:
        yield directory


def _study_record(storage: "str | BaseStorage | None", name: str | None) -> StudyRecord:
    shown = hidden(storage)
    default = "autoprune" if storage is None else f"autoprune-{uuid.uuid4().hex[:8]}"
    return StudyRecord(storage=shown, name=name or default, complete=shown == storage)


def _config(problem: Problem, settings: Settings, sources: Sources, study: StudyRecord) -> RunConfig:
    subject = problem.subject
    tensors = tensors_of(subject.given)
    return RunConfig(
        settings=settings,
        groups={group.name: group.size for group in problem.graph.prunable},
        model=ModelRecord(
            source=sources.model,
            shapes={name: tuple(t.shape) for name, t in tensors.items()},
            sha256=digest_of(tensors),
            inputs_sha256=digest_of_inputs(subject.example_inputs),
        ),
        data=DataRecord(
            source=sources.data,
            calibration_sha256=subject.images.calibration.digest,
            search_sha256=subject.images.search.digest,
        ),
        study=study,
    )
