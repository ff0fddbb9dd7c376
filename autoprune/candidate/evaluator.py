"""Widths in, value out: slice, reconstruct, re-fit, score."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor, nn

from autoprune.errors import ArgumentError
from autoprune.graph import PruneGraph
from autoprune.graph.export import device_of, unwrap
from autoprune.graph.interface import batch_size
from autoprune.graph.types import Indices
from autoprune.score import Evaluation, Score
from autoprune.score.batches import as_channels_last, resident
from autoprune.surgery.changes import Changed, Surgery
from autoprune.surgery.slicer import Slicer
from autoprune.timings import Timings

if TYPE_CHECKING:
    from autoprune.calibration import Calibration
    from autoprune.candidate.cluster import RayWorkers
    from autoprune.candidate.workers import Workers

_Plain: TypeAlias = Mapping[str, Sequence[int]]
_Fit: TypeAlias = Callable[[nn.Module, Mapping[str, Indices]], AbstractContextManager[Any]]
_Make: TypeAlias = Callable[[Mapping[str, Indices], Changed, Mapping[str, Tensor]], nn.Module]


PULL = 0.2
"""Of the re-fit of a candidate, towards the least squares of all images: with it half as many images tell
candidates apart nearly as well (`python -m benchmarks.fidelity`). Steps in front of a ReLU would cost a
tenth more and change nothing at so few images."""


class CandidateEvaluator:
    """Evaluates candidates of one network, each one sliced from the original weights.

    The value of a candidate depends on its widths alone, not on what was evaluated before, and is bit by bit
    the same in every call on one machine. Candidates take the form that the graph says (see
    `autoprune.surgery.proven`): of the form "class" the modules are copied once and filled anew for every
    candidate, of the form "graph" the exported graph is rewritten for every candidate.

    Args:
        graph: The graph of the network.
        model: The dense network, in any mode; untouched, and not to be changed while this object is in use.
        calibration: Calibration of the network; may be None if `reconstruct` is false.
        order: Unit indices of every prunable group, most important first; a candidate keeps a prefix.
        score: What a candidate is worth.
        fit_inputs: Batches on which the candidate, after its least squares, is re-fitted layer after layer on
            its own inputs (`autoprune.calibration.Refit`); None leaves that out. Read once, then kept on the
            device.
        reconstruct: Whether weights are fitted. Otherwise `fit_inputs` serve batch-norm statistics only.
        seed: Seed of the positions in the maps that the re-fit looks at.
        memo: How many of the latest evaluations are remembered.

    Attributes:
        timings: Seconds that making and scoring candidates took, by part.

    Raises:
        ArgumentError: `order` misses a prunable group or is not a permutation; no calibration; the model is
            not the one that the graph was traced from; or candidates are exported graphs that take batches
            of another size than those of `score` and `fit_inputs`.
        DataError: `fit_inputs` is empty.
    """

    def __init__(
        self,
        graph: PruneGraph,
        model: nn.Module,
        calibration: "Calibration | None",
        order: Mapping[str, ArrayLike],
        score: Score,
        fit_inputs: Iterable[Any] | None,
        *,
        reconstruct: bool = True,
        seed: int = 0,
        memo: int = 256,
    ) -> None:
        if reconstruct and calibration is None:
            raise ArgumentError(
                "calibration must be given to reconstruct weights; pass one, or reconstruct=False"
            )
        model = unwrap(model)
        self.timings = Timings()
        self._graph = graph
        self._score = score
        self._order = _checked_order(graph, order)
        self._surgery = Surgery(graph, model)
        self._make = _maker(graph, model, score)
        self._reconstruct = _reconstruction(graph, model, calibration) if reconstruct else None
        self._fit = _fit(graph, model, fit_inputs, score, seed if reconstruct else None)
        self._memo: OrderedDict[tuple[int, ...], Evaluation] = OrderedDict()
        self._memo_size = memo

    def keep(self, widths: Mapping[str, int]) -> dict[str, Indices]:
        """Ascending unit indices that stay of every prunable group; groups missing from `widths` stay whole.

        Raises:
            ArgumentError: An unknown or locked group, or a width outside 1..size.
        """
        full = self._graph.widths(widths)
        return {name: np.sort(units[: full[name]]) for name, units in self._order.items()}

    def build(self, widths: Mapping[str, int]) -> nn.Module:
        """Make the candidate, in eval mode. It is valid until the next call of `build` or `evaluate`.

        Raises:
            ArgumentError: As `keep`.
            ModelError: The surgery is impossible for a module.
        """
        candidate, _ = self._build(widths)
        return candidate

    def _build(self, widths: Mapping[str, int]) -> tuple[nn.Module, AbstractContextManager[Any]]:
        """The candidate, and in which context it is to run."""
        with self.timings("cut"):
            keep = self.keep(widths)
            changed = self._surgery(keep)
        with self.timings("least squares"):
            overrides: Mapping[str, Tensor] = self._reconstruct(keep) if self._reconstruct else {}
        with self.timings("build"):
            candidate = self._make(keep, changed, overrides).eval()
        with self.timings("re-fit"):
            context = self._fit(candidate, keep)
        return candidate, context

    def evaluate(
        self,
        widths: Mapping[str, int],
        *,
        remembered: bool = True,
        score: Callable[[nn.Module], Evaluation] | None = None,
    ) -> Evaluation:
        """Make the candidate and score it.

        Args:
            widths: By group name.
            remembered: An earlier result will do.
            score: Another score than this object's own; what it says is not remembered.

        Raises:
            ArgumentError: As `keep`.
            ModelError: The candidate cannot be made or run.
        """
        if score is not None and score is not self._score:
            return self._scored(*self._build(widths), score)
        full = self._graph.widths(widths)
        key = tuple(full[name] for name in self._order)
        known = self._memo.pop(key, None)
        evaluation = known if remembered and known else self._scored(*self._build(widths), self._score)
        self._remember(key, evaluation)
        return Evaluation(evaluation.score, dict(evaluation.metrics))

    def prefetch(self, candidates: Sequence[Mapping[str, int]], workers: "Workers | RayWorkers") -> None:
        """Have candidates evaluated side by side and remember the results for `evaluate`.

        Args:
            candidates: Widths by group name, at most as many as are remembered.
            workers: Hold this object.

        Raises:
            ArgumentError: As `keep`.
            ModelError: A candidate cannot be made or run.
            RunError: The workers died again and again.
        """
        missing: dict[tuple[int, ...], dict[str, int]] = {}
        for widths in candidates:
            full = self._graph.widths(widths)
            key = tuple(full[name] for name in self._order)
            if key not in self._memo:
                missing[key] = dict(widths)
        with self.timings(f"candidates, {workers.count} workers"):
            evaluations = workers(list(missing.values()))
        for key, evaluation in zip(missing, evaluations, strict=True):
            self._remember(key, evaluation)

    def _scored(
        self,
        candidate: nn.Module,
        context: AbstractContextManager[Any],
        score: Callable[[nn.Module], Evaluation],
    ) -> Evaluation:
        with self.timings("score"), context:
            return score(candidate)

    def _remember(self, key: tuple[int, ...], evaluation: Evaluation) -> None:
        self._memo[key] = evaluation
        while len(self._memo) > self._memo_size:
            self._memo.popitem(last=False)


def _maker(graph: PruneGraph, model: nn.Module, score: Score) -> _Make:
    """What turns units that stay into a network of the form that the graph says."""
    rewriter = graph.rewriter
    if graph.form == "class" or rewriter is None:
        slicer = Slicer(model, channels_last=score.images.channels_last)
        return lambda keep, changed, overrides: slicer(changed.slices, changed.modules, overrides)
    traced = batch_size(rewriter.graph.inputs)
    sizes = {batch.size for batch in score.images.batches}
    if not rewriter.any_batch and sizes != {traced}:
        raise ArgumentError(
            f"the images must come in batches of {traced}, got {sorted(sizes)}: the network can only be "
            "pruned as its exported graph, which takes the batch size of example_inputs; pass others"
        )
    return lambda keep, changed, overrides: rewriter(cast(_Plain, keep), overrides)


def _checked_order(graph: PruneGraph, order: Mapping[str, ArrayLike]) -> dict[str, Indices]:
    result: dict[str, Indices] = {}
    for group in graph.prunable:
        if group.name not in order:
            raise ArgumentError(f"order must rank every prunable group, '{group.name}' is missing")
        units = np.asarray(order[group.name], dtype=np.int64)
        if not np.array_equal(np.sort(units), np.arange(group.size)):
            raise ArgumentError(f"order['{group.name}'] must be a permutation of 0..{group.size - 1}")
        result[group.name] = units
    return result


def _reconstruction(graph: PruneGraph, model: nn.Module, calibration: Any) -> Any:
    from autoprune.calibration import Reconstruction

    return Reconstruction(graph, model, calibration)


def _fit(
    graph: PruneGraph, model: nn.Module, inputs: Iterable[Any] | None, score: Score, seed: int | None
) -> _Fit:
    """What is done to a candidate on data: the re-fit, batch-norm statistics (no seed), or nothing.

    It tells in which context the candidate is to run then.
    """
    from autoprune.calibration import Refit, recalibrate_bn

    if inputs is None:
        return lambda candidate, keep: nullcontext()
    device = device_of(model)
    batches = resident(inputs, device, score.images.batch_size)
    if score.images.channels_last:
        batches = [as_channels_last(batch) for batch in batches]
    if seed is not None:
        fit = Refit(graph, model, batches, ridge=PULL, relu_steps=0, seed=seed)
        return lambda candidate, keep: fit(candidate, cast(_Plain, keep))
    normalized = any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
        for module in model.modules()
    )

    def recalibrate(candidate: nn.Module, keep: Mapping[str, Indices]) -> AbstractContextManager[Any]:
        if normalized:
            recalibrate_bn(candidate, batches)
        return nullcontext()

    return recalibrate
