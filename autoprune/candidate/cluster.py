"""Actors of a Ray cluster that evaluate candidates side by side."""

import logging
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import torch

from autoprune.candidate.workers import Evaluate, Widths, each_once
from autoprune.errors import ArgumentError, RunError
from autoprune.score import Evaluation

RETRIES = 3
"""How often a candidate of an actor that was lost is given to its replacement."""

LOCAL = "local"


class RayWorkers:
    """`count` actors of a Ray cluster that hold one evaluator each and evaluate candidates side by side.

    The evaluator (network, moments, images) is sent to every node once; a candidate is its widths. An actor
    that is lost, with its process or its node, is started anew by Ray, and its candidate evaluated again.

    Args:
        evaluate: Gives the value of a candidate, which depends on nothing else; pickled with cloudpickle.
        count: How many actors, at least 1, with one CPU each.
        address: Of the cluster as `ray.init` takes it, or "local" for one on this machine.
        gpus: GPUs that every actor asks for, also a part of one.

    Raises:
        ArgumentError: `count` below 1, Ray is not installed, or no such cluster.
    """

    def __init__(self, evaluate: Evaluate, count: int, address: str = LOCAL, *, gpus: float = 0) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ArgumentError(f"workers must be an integer of at least 1, got {count!r}")
        try:
            import ray
        except ImportError as error:
            raise ArgumentError("ray must be installed for this: pip install 'autoprune[ray]'") from error
        self.count = count
        self._ray: Any = ray
        self._owner = not ray.is_initialized()
        if self._owner:
            _connect(ray, address, count)
        from ray.util.actor_pool import ActorPool

        self._reference: Any = ray.put(_Held(evaluate))  # kept for actors that are started anew
        kind = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=-1, max_task_retries=RETRIES)(_Evaluator)
        self._actors = [kind.remote([self._reference]) for _ in range(count)]
        self._pool: Any = ActorPool(self._actors)

    def __call__(self, candidates: Sequence[Widths]) -> list[Evaluation]:
        """The values of candidates, in their order; equal ones are evaluated once.

        Raises:
            RunError: An actor was lost again and again.
            Exception: Whatever the evaluator raises, that of the first such candidate.
        """
        return each_once(candidates, self._all)

    def _all(self, candidates: list[dict[str, int]]) -> list[Evaluation]:
        errors = self._ray.exceptions
        try:
            return list(self._pool.map(lambda actor, widths: actor.evaluate.remote(widths), candidates))
        except errors.RayTaskError as error:
            raise getattr(error, "cause", error) from error
        except errors.RayError as error:
            raise RunError(
                f"the cluster lost an actor over the same candidate again and again: {error}"
            ) from error

    def close(self) -> None:
        """End the actors, and the local cluster if there is one."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors, self._reference = [], None
        if self._owner:
            self._ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()


def _connect(ray: Any, address: str, count: int) -> None:
    """Join a cluster or start one here.

    Raises:
        ArgumentError: There is none, or it does not start; with Ray's own words.
    """
    where: dict[str, Any] = {"address": address}
    if address == LOCAL:
        where = {"num_cpus": count, "include_dashboard": False}
    environment = {"env_vars": {"PYTHONPATH": ":".join(path for path in sys.path if path)}}
    try:
        ray.init(
            **where,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env=environment if address == LOCAL else None,
        )
    except Exception as error:  # among them bare ones, where a node does not come up in time
        raise ArgumentError(
            f"ray must be the address of a running cluster, or 'local', got '{address}': {error}"
        ) from error


class _Held:
    """The evaluator, which Ray would otherwise take apart: a function is not an object to it."""

    def __init__(self, evaluate: Evaluate) -> None:
        self.evaluate = evaluate


class _Evaluator:
    """An actor.

    Args:
        held: A list of one reference to the evaluator; within a list it is fetched once per node, on demand.
    """

    def __init__(self, held: list[Any]) -> None:
        import ray

        torch.set_num_threads(1)
        self._held: _Held = ray.get(held[0])

    def evaluate(self, widths: dict[str, int]) -> Evaluation:
        """The value of a candidate."""
        return self._held.evaluate(widths)
