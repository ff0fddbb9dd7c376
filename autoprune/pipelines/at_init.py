"""Pruning before training."""

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from torch import nn

from autoprune.criteria import Criterion, Random
from autoprune.data import Splits
from autoprune.errors import ArgumentError
from autoprune.masks import Granularity
from autoprune.pipelines.loop import Round, check_counts, run_rounds
from autoprune.pipelines.options import Options
from autoprune.pipelines.result import PipelineResult
from autoprune.pipelines.saliency import SNIP, SynFlow
from autoprune.pipelines.sparsify import Scope, Sparsifier, pruned_to
from autoprune.pipelines.work import Work, working
from autoprune.schedules import schedule

METHODS: dict[str, type[Criterion]] = {"snip": SNIP, "synflow": SynFlow, "random": Random}
_ITERATIONS = {"snip": 1, "synflow": 100, "random": 1}


def at_init(
    model: nn.Module,
    data: Splits,
    sparsity: float,
    *,
    method: Literal["snip", "synflow", "random"] = "synflow",
    iterations: int | None = None,
    epochs: int = 10,
    granularity: str | Granularity = "weight",
    scope: Scope = "global",
    floor: float = 0.01,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    **options: Unpack[Options],
) -> PipelineResult:
    """Prune a network that was never trained, then train what is left.

    Args:
        model: New network; untouched.
        data: As for `iterative_magnitude`.
        sparsity: Share of the weights of convolutions and linear layers to prune, in 0..1.
        method: "snip" (arXiv:1810.02340), "synflow" (arXiv:2006.05467) or "random".
        iterations: How often to score and prune, an equal share of what is left each time; by default 100
            for SynFlow (as in the paper) and 1 for the others.
        epochs: Of the training behind it; 0 does not train.
        granularity: What stays or goes as a whole.
        scope: As for `iterative_magnitude`; the papers rank globally.
        floor: As for `iterative_magnitude`.
        include: As for `iterative_magnitude`.
        exclude: As for `iterative_magnitude`.
        options: See `Options`.

    Returns:
        The network and its masks.

    Raises:
        ArgumentError: An argument outside its rules.
    """
    check_counts(epochs=epochs)
    if method not in METHODS:
        raise ArgumentError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    count = _ITERATIONS[method] if iterations is None else iterations
    check_counts(rounds=count)
    sparsify = Sparsifier(METHODS[method](), granularity, scope, floor, include, exclude)
    count = 1 if sparsify.fixed is not None else count
    targets = _targets(sparsity, count)
    settings = {**sparsify.settings, "targets": list(targets), "epochs": epochs, "method": method}
    with working("at_init", model, data, settings, options) as work:
        work.rounds = 1

        def next_round(done: int) -> Round | None:
            return Round(lambda: _prune(work, sparsify, targets), epochs) if done == 0 else None

        run_rounds(work, next_round)
        return work.finish()


def _targets(sparsity: float, count: int) -> tuple[float, ...]:
    if count == 1:
        return (schedule("one_shot", sparsity, 1)(0),)
    curve = schedule("geometric", sparsity, count)
    return tuple(curve(step) for step in range(1, count + 1))


def _prune(work: Work, sparsify: Sparsifier, targets: Sequence[float]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for target in targets:
        said = pruned_to(work, sparsify, target)
    return said
