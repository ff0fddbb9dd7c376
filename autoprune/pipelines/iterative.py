"""Prune a little, fine-tune, repeat."""

from collections.abc import Sequence
from typing import Unpack

from torch import nn

from autoprune.criteria import Criterion
from autoprune.data import Splits
from autoprune.masks import Granularity
from autoprune.pipelines.loop import Round, check_counts, run_rounds
from autoprune.pipelines.options import Options
from autoprune.pipelines.result import PipelineResult
from autoprune.pipelines.sparsify import Scope, Sparsifier, pruned_to
from autoprune.pipelines.targets import round_targets
from autoprune.pipelines.work import working
from autoprune.schedules import Schedule


def iterative_magnitude(
    model: nn.Module,
    data: Splits,
    sparsity: float | None = None,
    *,
    rounds: int = 5,
    epochs: int = 3,
    schedule: str | Schedule = "geometric",
    criterion: str | Criterion = "l1",
    granularity: str | Granularity = "weight",
    scope: Scope = "layer",
    floor: float = 0.01,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    **options: Unpack[Options],
) -> PipelineResult:
    """Prune, fine-tune, repeat (Han et al. 2015, arXiv:1506.02626).

    Args:
        model: Trained network; untouched.
        data: Loaders `train` (fine-tuning, criteria) and `search_val` (accuracies in the history).
        sparsity: Share of the weights of convolutions and linear layers to prune at the end, in 0..1. None
            where the granularity (2:4) or a `Schedule` object says it.
        rounds: How often to prune.
        epochs: Of fine-tuning after each pruning; 1 to 5 are usual.
        schedule: Targets of the rounds; a name in `autoprune.schedules.SCHEDULES`, or an object that counts
            rounds.
        criterion: What scores single weights; "l1" is their magnitude.
        granularity: What stays or goes as a whole.
        scope: "layer" or "global", see `Sparsifier`.
        floor: See `Sparsifier`.
        include: Patterns of tensor names that may be pruned.
        exclude: Patterns of tensor names that stay whole.
        options: See `Options`.

    Returns:
        The network with exactly `round(sparsity * units)` units at zero (per tensor, or in total with
        scope "global"), and the masks.

    Raises:
        ArgumentError: An argument outside its rules.
    """
    check_counts(rounds=rounds, epochs=epochs)
    sparsify = Sparsifier(criterion, granularity, scope, floor, include, exclude)
    targets = round_targets(sparsify, sparsity, rounds, schedule)
    settings = {**sparsify.settings, "targets": list(targets), "epochs": epochs}
    with working("iterative_magnitude", model, data, settings, options) as work:
        work.rounds = len(targets)

        def next_round(done: int) -> Round | None:
            if done == len(targets):
                return None
            return Round(lambda: pruned_to(work, sparsify, targets[done]), epochs)

        run_rounds(work, next_round)
        return work.finish()
