"""The part of a search behind calibration: baselines, episodes, result."""

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from autoprune.agents import Agent, make_agent
from autoprune.allocation import greedy, uniform
from autoprune.candidate import Workers
from autoprune.candidate.cluster import LOCAL, RayWorkers
from autoprune.envs import PruningEnv
from autoprune.errors import ArgumentError
from autoprune.files import write_text
from autoprune.graph.export import device_of
from autoprune.io import save
from autoprune.latency.clock import pinned
from autoprune.plan import Plan
from autoprune.plan.schema import describe_form
from autoprune.report import write_report_or_log
from autoprune.run.callbacks import SearchStart
from autoprune.run.checkpoint import Checkpoint
from autoprune.run.config import Settings
from autoprune.run.device import Device
from autoprune.run.directory import RunDirectory
from autoprune.run.finish import DRIFTS, Found, evaluate, finish
from autoprune.run.loop import run_episodes
from autoprune.run.max_drop import remark_on
from autoprune.run.outcome import outcome_of
from autoprune.run.parts import Parts
from autoprune.run.problem import Problem, remark_on_multiples
from autoprune.run.recorder import Recorder
from autoprune.run.result import Measured, SearchResult
from autoprune.run.signals import StopRequest
from autoprune.run.study import StudyMirror
from autoprune.run.transfer import learned, save_policy

ALLOCATIONS = {"uniform": uniform, "greedy": greedy}


class Session:
    """Runs the episodes of a posed problem and makes the result.

    Args:
        problem: The problem.
        settings: Plain values.
        parts: Objects.
        directory: The run directory, or None.
        same_machine: Whether all episodes come from this machine and these libraries.
        device: Times the best candidate where that is wanted; None never does.

    Raises:
        ArgumentError: The agent cannot be made from its settings.
    """

    def __init__(
        self,
        problem: Problem,
        settings: Settings,
        parts: Parts,
        directory: RunDirectory | None,
        *,
        same_machine: bool = True,
        device: Device | None = None,
    ) -> None:
        self._problem, self._settings, self._parts, self._directory = problem, settings, parts, directory
        here = settings.ray in (None, LOCAL)
        self._exact = same_machine and here and device_of(problem.subject.model).type == "cpu"
        self._device = device
        self._agent = self._make_agent()
        self._workers: Workers | RayWorkers | None = None

    def run(self, mirror: StudyMirror, checkpoint: Checkpoint | None = None) -> SearchResult:
        """Run the episodes that are missing and make the result.

        Args:
            mirror: The study.
            checkpoint: Where to go on; None starts anew.

        Raises:
            KeyboardInterrupt: A stop was requested before the first episode was finished, or twice.
            RunError: The run directory cannot be written to.
            ModelError: The result fails one of its checks.
        """
        with ExitStack() as stack:
            if self._settings.workers > 1 or self._settings.ray is not None:
                self._share(stack)
            return self._run(mirror, checkpoint)

    def _share(self, stack: ExitStack) -> None:
        """Have candidates evaluated side by side, and the rest as workers do it: by one thread."""
        evaluator, count = self._problem.evaluator, self._settings.workers
        device, address = device_of(self._problem.subject.model), self._settings.ray
        if address is None and device.type != "cpu":
            raise ArgumentError(
                f"workers must be 1 on the device {device}, got {count}: processes share memory on the CPU; "
                "use ray"
            )
        stack.enter_context(pinned(1))
        workers: Workers | RayWorkers
        if address is None:
            workers = stack.enter_context(Workers(evaluator.evaluate, count))
        else:
            gpus = int(device.type == "cuda")
            workers = stack.enter_context(RayWorkers(evaluator.evaluate, count, address, gpus=gpus))
        self._agent.look_ahead(count, partial(evaluator.prefetch, workers=workers))
        self._workers = workers

    def _run(self, mirror: StudyMirror, checkpoint: Checkpoint | None) -> SearchResult:
        self._parts.stage("baselines")
        dense, baselines = self._dense(), self._baselines()
        agent, episodes = self._agent, self._settings.episodes
        recorder = Recorder(
            self._problem.task.names, mirror, self._directory, images=self._problem.score.images.count
        )
        if checkpoint is not None:
            recorder.restore(checkpoint, agent)
        self._announce(recorder)
        with StopRequest() as stop:
            self._episodes(episodes, recorder, stop)
            if (best := recorder.best) is None:
                raise KeyboardInterrupt("stopped before the first episode was finished")
            timed = None
            if self._device is not None:
                more = partial(self._search_on, recorder, stop)
                best, timed = self._device.settle(self._problem, recorder, best, episodes, more)
            if self._workers is not None:
                self._workers.close()  # their memory is free for the re-fit
            found = finish(
                self._problem,
                best,
                self._info(best.number),
                exact=self._exact,
                drift=DRIFTS[self._settings.precision],
                stage=self._parts.stage,
            )
            measured = self._measured("found", self._problem.task.vector(found.plan.widths), found)
            result = SearchResult(
                model=self._back(found.model),
                plan=found.plan,
                history=tuple(recorder.history),
                policy=learned(agent, self._settings),
                best=best,
                dense=dense,
                found=measured,
                baselines=baselines,
                limits=dict(self._problem.task.budget.limits),
                study=mirror.study,
                stopped=len(recorder.history) < episodes and not agent.finished,
                run_dir=None if self._directory is None else self._directory.path,
                timed=timed,
                remarks=self._remarks(measured, found.plan),
                timings=self._problem.evaluator.timings,
            )
            self._save(result)
            recorder.catch_up()
        for callback in self._parts.callbacks:
            callback.on_end(result)
        return result

    def _remarks(self, found: Measured, plan: Plan) -> tuple[str, ...]:
        """What a reader must know of the result."""
        of_form = () if plan.form == "class" else (f"the pruned network is {describe_form(plan)}",)
        of_device = () if self._device is None else self._device.remarks
        of_widths = remark_on_multiples(self._problem.task.round_to)
        return (*of_form, *of_device, *of_widths, *remark_on(self._parts.reward, found))

    def _search_on(self, recorder: Recorder, stop: StopRequest, count: int) -> None:
        """Run further episodes; their number is recorded first, so that a resumed run has them too."""
        total = len(recorder.history) + count
        if self._directory is not None:
            config = self._directory.read_config()
            settings = config.settings.model_copy(update={"episodes": total})
            self._directory.write_config(config.model_copy(update={"settings": settings}))
        if not self._agent.finished:
            self._episodes(total, recorder, stop)
        elif (episode := stop.attempt(self._make_agent().run_episode)) is not None:
            recorder.add(replace(episode, number=len(recorder.history)), self._agent)

    def _episodes(self, total: int, recorder: Recorder, stop: StopRequest) -> None:
        timings = self._problem.evaluator.timings
        run_episodes(self._agent, total, recorder, self._parts.callbacks, stop, timings)

    def _make_agent(self) -> Agent:
        problem, settings = self._problem, self._settings
        env = PruningEnv(problem.task, problem.evaluator.evaluate, reward=self._parts.reward)
        further: dict[str, Any] = dict(settings.agent_settings)
        if self._parts.init_policy is not None:
            further["init_policy"] = self._parts.init_policy
        if isinstance(self._parts.agent, str):
            return make_agent(self._parts.agent, env, settings.seed, **further)
        return self._parts.agent(env, seed=settings.seed, **further)

    def _announce(self, recorder: Recorder) -> None:
        budget = self._problem.task.budget
        self._parts.stage("search")
        start = SearchStart(
            episodes=self._settings.episodes,
            done=len(recorder.history),
            dense=dict(budget.dense),
            limits=dict(budget.limits),
            groups=len(self._problem.task.names),
            best=recorder.best,
        )
        for callback in self._parts.callbacks:
            callback.on_start(start)

    def _dense(self) -> Measured:
        task = self._problem.task
        return Measured(
            "dense",
            task.widths(task.sizes),
            task.budget.dense,
            evaluate(self._problem, self._problem.subject.model),
        )

    def _baselines(self) -> dict[str, Measured]:
        names = self._settings.baselines
        found: dict[str, Measured] = {}
        for done, name in enumerate(names):
            self._parts.step(done, len(names))
            found[name] = self._measured(name, ALLOCATIONS[name](self._problem.task))
        return found

    def _measured(self, name: str, vector: Any, found: Found | None = None) -> Measured:
        task = self._problem.task
        widths = task.widths(vector)
        costs = {cost: np.asarray(value).item() for cost, value in task.budget.costs(vector).items()}
        problem = self._problem
        evaluation = (
            problem.evaluator.evaluate(widths, score=problem.score) if found is None else found.evaluation
        )
        return Measured(name, widths, costs, evaluation)

    def _info(self, episode: int) -> dict[str, Any]:
        kept = (
            "agent",
            "criterion",
            "reward",
            "seed",
            "round_to",
            "lower",
            "floor_units",
            "include",
            "exclude",
        )
        settings = self._settings.model_dump(mode="json", include=set(kept))
        given = self._settings.init_policy
        begun = {} if given is None else {"init_policy": given}
        return (
            {"budget": self._settings.budget}
            | {key: settings[key] for key in kept}
            | begun
            | {"episode": episode}
        )

    def _back(self, model: nn.Module) -> nn.Module:
        """To the device that the user's network is on."""
        return model.to(device_of(self._problem.subject.given))

    def _save(self, result: SearchResult) -> None:
        if self._directory is None:
            return
        self._parts.stage("save")
        with self._directory.writing():
            save(result.model, result.plan, self._directory.pruned_path)
            write_text(self._directory.summary_path, result.summary() + "\n")
            save_policy(result.policy, self._agent, self._directory.path)
        self._directory.write_outcome(outcome_of(self._problem, result))
        write_report_or_log(self._directory.path)
