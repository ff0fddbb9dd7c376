"""Optimal brain damage and optimal brain surgeon, a little at a time."""

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from torch import nn

from autoprune.criteria import Criterion
from autoprune.data import Splits
from autoprune.errors import ArgumentError
from autoprune.masks import Granularity
from autoprune.pipelines.loop import Round, check_counts, run_rounds
from autoprune.pipelines.options import Options
from autoprune.pipelines.result import PipelineResult
from autoprune.pipelines.sparsify import Scope, Sparsifier, pruned_to
from autoprune.pipelines.surgeon import Surgeon, layer_moments, refit_within
from autoprune.pipelines.targets import round_targets
from autoprune.pipelines.work import Work, working
from autoprune.schedules import Schedule

VARIANTS = ("damage", "surgeon")


def optimal_brain(
    model: nn.Module,
    data: Splits,
    sparsity: float | None = None,
    *,
    variant: Literal["damage", "surgeon"] = "surgeon",
    rounds: int = 10,
    epochs: int = 0,
    schedule: str | Schedule = "linear",
    criterion: str | Criterion | None = None,
    granularity: str | Granularity = "weight",
    scope: Scope = "layer",
    floor: float = 0.01,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    **options: Unpack[Options],
) -> PipelineResult:
    """Prune a little by second-order scores, let the rest make up for it, repeat.

    - "damage" (LeCun et al. 1989): scores from the diagonal of the Hessian of the loss; what is left changes
      by fine-tuning alone.
    - "surgeon" (Hassibi and Stork 1993), layer by layer: scores `w^2 / [H^-1]_ww` with H the second moment
      of the layer's inputs; then the weights that are left become those that reproduce the layer's outputs
      best, which is what the surgeon's updates of one weight after the other add up to.

    Args:
        model: Trained network; untouched.
        data: As for `iterative_magnitude`.
        sparsity: As for `iterative_magnitude`.
        variant: "damage" or "surgeon".
        rounds: As for `iterative_magnitude`.
        epochs: Of fine-tuning after each round.
        schedule: As for `iterative_magnitude`.
        criterion: Other scores than the variant's own.
        granularity: As for `iterative_magnitude`.
        scope: As for `iterative_magnitude`.
        floor: As for `iterative_magnitude`.
        include: As for `iterative_magnitude`.
        exclude: As for `iterative_magnitude`.
        options: See `Options`.

    Returns:
        The network and its masks.

    Raises:
        ArgumentError: An argument outside its rules.
    """
    check_counts(rounds=rounds, epochs=epochs)
    if variant not in VARIANTS:
        raise ArgumentError(f"variant must be 'damage' or 'surgeon', got {variant!r}")
    own = "hessian" if variant == "damage" else Surgeon()
    scores = own if criterion is None else criterion
    sparsify = Sparsifier(scores, granularity, scope, floor, include, exclude)
    targets = round_targets(sparsify, sparsity, rounds, schedule)
    settings = {**sparsify.settings, "targets": list(targets), "epochs": epochs, "variant": variant}
    with working("optimal_brain", model, data, settings, options) as work:
        work.rounds = len(targets)

        def next_round(done: int) -> Round | None:
            if done == len(targets):
                return None
            return Round(lambda: _prune(work, sparsify, targets[done], variant == "surgeon"), epochs)

        run_rounds(work, next_round)
        return work.finish()


def _prune(work: Work, sparsify: Sparsifier, target: float, surgeon: bool) -> dict[str, Any]:
    if not surgeon:
        return pruned_to(work, sparsify, target)
    moments = layer_moments(work.model, work.graph, work.images)
    before = {name: tensor.detach().clone() for name, tensor in work.model.named_parameters()}
    said = pruned_to(work, sparsify, target)
    refit_within(work.model, work.graph, before, work.state.masks, moments)
    return said
