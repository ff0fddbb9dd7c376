"""Rank all channels, remove the least important, fine-tune a little, until the target is reached."""

from typing import Any, Unpack

from torch import nn

from autoprune.budget import Budget
from autoprune.criteria import Criterion, make_criterion
from autoprune.criteria.make import text_of
from autoprune.data import Splits
from autoprune.errors import ArgumentError
from autoprune.pipelines.channels import cut, remove_least, task_of
from autoprune.pipelines.loop import Round, check_counts, run_rounds
from autoprune.pipelines.options import Options
from autoprune.pipelines.result import PipelineResult
from autoprune.pipelines.work import Work, working
from autoprune.run.checks import parsed_budget

GOOD = "good"


def molchanov(
    model: nn.Module,
    data: Splits,
    budget: str | Budget | None = None,
    *,
    accuracy_floor: float | None = None,
    share: float = 0.02,
    epochs: int = 1,
    criterion: str | Criterion = "taylor",
    lower: float = 0.1,
    **options: Unpack[Options],
) -> PipelineResult:
    """Greedy removal of channels with fine-tuning in between (Molchanov et al. 2017, arXiv:1611.06440).

    Each round scores all channels of the network as it is by then, removes the lowest `share` of all,
    wherever they lie, and fine-tunes. It ends when the budget is met, when the accuracy falls below
    `accuracy_floor` (the round that did so is undone), or when every group is at its floor.

    While it runs, removed channels are masked, which computes what the smaller network computes; they are
    cut out at the end.

    Args:
        model: Trained network; untouched.
        data: Loaders `train` (fine-tuning, criteria) and `search_val` (accuracy).
        budget: Hard upper bound, such as "macs=50%".
        accuracy_floor: Lowest score that is accepted after a round; at least one of the two is needed.
        share: Share of all prunable channels to remove per round, at least one channel.
        epochs: Of fine-tuning after each round.
        criterion: What ranks the channels over all groups together: wrap one whose scores are not comparable
            between layers in a normalization.
        lower: Smallest share of its channels that a group keeps: the guard against a layer that vanishes.
        options: See `Options`.

    Returns:
        The smaller network and its plan, which fits the network that was given.

    Raises:
        ArgumentError: An argument outside its rules.
        BudgetError: The budget does not parse, or `lower` does not let it be met.
        DataError: An accuracy floor without labels.
    """
    check_counts(epochs=epochs)
    if budget is None and accuracy_floor is None:
        raise ArgumentError("molchanov must be given a budget or an accuracy_floor to stop at, got neither")
    if not 0 < share <= 1:
        raise ArgumentError(f"share must be a share in (0, 1], got {share!r}")
    chosen = make_criterion(criterion)
    settings = {
        "criterion": text_of(criterion), "budget": None if budget is None else str(parsed_budget(budget)),
        "accuracy_floor": accuracy_floor, "share": share, "epochs": epochs, "lower": lower,
    }  # fmt: skip
    with working("molchanov", model, data, settings, options) as work:
        work.cuts = True
        removal = _Removal(work, chosen, budget, accuracy_floor, share, epochs, lower)
        run_rounds(work, removal.next_round)
        return work.finish()


class _Removal:
    """The rounds of one run."""

    def __init__(
        self,
        work: Work,
        criterion: Criterion,
        budget: str | Budget | None,
        accuracy_floor: float | None,
        share: float,
        epochs: int,
        lower: float,
    ) -> None:
        self._work, self._criterion, self._epochs = work, criterion, epochs
        self._accuracy_floor = accuracy_floor
        self._limited = budget is not None
        self._task = task_of(work.graph, budget, lower)
        self._most = max(1, round(share * int(self._task.sizes.sum())))
        if accuracy_floor is not None:
            work.require_score()
            if work.state.round == 0 and not work.state.pruned:
                work.remember(GOOD)

    def next_round(self, done: int) -> Round | None:
        """The next removal, unless the target is reached."""
        state = self._work.state
        if not state.pruned and (state.notes.get("over") or self._enough(state.keep)):
            return None
        return Round(self._prune, self._epochs, after=self._after)

    def _enough(self, keep: dict[str, list[int]]) -> bool:
        widths = {name: len(units) for name, units in keep.items()}
        return self._limited and bool(self._task.budget.holds(self._task.vector(widths)))

    def _prune(self) -> dict[str, Any]:
        work = self._work
        before = work.state.keep or {g.name: list(range(g.size)) for g in work.graph.prunable}
        scores = work.unit_scores(self._criterion)
        keep = remove_least(self._task, scores, before, self._most, limited=self._limited)
        if keep == before:
            work.state.notes["over"] = "every group is at its floor"
        return cut(work, keep)

    def _after(self, row: dict[str, Any]) -> None:
        """Accept the round, or undo it and stop."""
        if self._accuracy_floor is None:
            return
        work, state = self._work, self._work.state
        if row["accuracy_after"] >= self._accuracy_floor:
            work.remember(GOOD)
            state.notes["good"] = state.keep
            return
        row["undone"] = True
        state.notes["over"] = "the accuracy floor is reached"
        work.recall(GOOD)
        cut(work, state.notes.get("good") or {})
