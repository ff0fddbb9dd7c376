"""Train with a penalty that empties channels, then cut the emptiest out."""

from typing import Any, Literal, Unpack

from torch import nn

from autoprune.allocation import global_ranking
from autoprune.budget import Budget
from autoprune.criteria import Criterion, make_criterion
from autoprune.criteria.make import text_of
from autoprune.data import Splits
from autoprune.errors import ArgumentError
from autoprune.pipelines.channels import best_units, cut, task_of
from autoprune.pipelines.loop import Round, check_counts, run_rounds
from autoprune.pipelines.options import Options
from autoprune.pipelines.penalties import PENALTIES
from autoprune.pipelines.result import PipelineResult
from autoprune.pipelines.work import Work, working
from autoprune.run.checks import parsed_budget
from autoprune.task import Task

Penalty = Literal["l1", "group_lasso", "bn_scale"]

CRITERIA = {"l1": "l1", "group_lasso": "l2", "bn_scale": "bn_scale"}


def sparse_training(
    model: nn.Module,
    data: Splits,
    budget: str | Budget,
    *,
    penalty: Penalty = "bn_scale",
    strength: float = 1e-4,
    epochs: int = 10,
    finetune_epochs: int = 3,
    criterion: str | Criterion | None = None,
    lower: float = 0.1,
    **options: Unpack[Options],
) -> PipelineResult:
    """Network slimming and its relatives: sparse training, one cut over all layers, fine-tuning.

    Args:
        model: Trained or new network; untouched.
        data: Loaders `train` and `search_val`.
        budget: Hard upper bound, such as "macs=50%".
        penalty: Added to the loss of the first training: "bn_scale" (network slimming, arXiv:1708.06519),
            "group_lasso" (arXiv:1608.03665), "l1".
        strength: Factor of the penalty.
        epochs: Of the training with the penalty.
        finetune_epochs: Of the training after the cut, without it.
        criterion: What ranks the channels; by default what the penalty makes small ("bn_scale", "l2", "l1").
        lower: Smallest share of its channels that a group keeps.
        options: See `Options`.

    Returns:
        The smaller network and its plan. The history has a row for each training.

    Raises:
        ArgumentError: An argument outside its rules.
        BudgetError: The budget does not parse, or `lower` does not let it be met.
        ModelError: Nothing that the penalty could work on.
    """
    check_counts(epochs=epochs, finetune_epochs=finetune_epochs)
    if penalty not in PENALTIES:
        raise ArgumentError(f"penalty must be one of {', '.join(PENALTIES)}, got {penalty!r}")
    if not 0 <= strength < float("inf"):
        raise ArgumentError(f"strength must be at least 0, got {strength!r}")
    ranked_by = CRITERIA[penalty] if criterion is None else criterion
    chosen = make_criterion(ranked_by)
    bounds = parsed_budget(budget)
    settings = {
        "budget": str(bounds), "penalty": penalty, "strength": strength, "epochs": epochs,
        "finetune_epochs": finetune_epochs, "criterion": text_of(ranked_by), "lower": lower,
    }  # fmt: skip
    with working("sparse_training", model, data, settings, options) as work:
        work.cuts, work.rounds = True, 2
        task = task_of(work.graph, bounds, lower)
        regularizer = PENALTIES[penalty](work.graph, work.model, strength)

        def next_round(done: int) -> Round | None:
            if done == 0:
                return Round(lambda: {"sparsity": 0.0, "penalty": penalty}, epochs, penalty=regularizer)
            return Round(lambda: _cut(work, chosen, task), finetune_epochs) if done == 1 else None

        run_rounds(work, next_round)
        return work.finish()


def _cut(work: Work, criterion: Criterion, task: Task) -> dict[str, Any]:
    scores = work.unit_scores(criterion)
    return cut(work, best_units(task, scores, global_ranking(task, scores)))
