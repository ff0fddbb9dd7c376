"""The loop that all pipelines are made of: prune, train, write it down, repeat."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from autoprune.errors import ArgumentError
from autoprune.pipelines.work import Work
from autoprune.train import Session


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes:
        prune: Changes the network, its masks or its units; returns what the history should say of it.
        epochs: Number of the last epoch of the training behind it; 0 does not train.
        first: Epochs that count as done already.
        penalty: Added to the loss.
        on_step: Called after each optimizer step.
        on_epoch: Called after each epoch with its number.
        after: Called with the finished row before it is saved.
    """

    prune: Callable[[], Mapping[str, Any]]
    epochs: int
    first: int = 0
    penalty: Callable[[], Tensor] | None = None
    on_step: Callable[[Session], None] | None = None
    on_epoch: Callable[[int], None] | None = None
    after: Callable[[dict[str, Any]], None] | None = None


def run_rounds(work: Work, next_round: Callable[[int], Round | None]) -> None:
    """Run rounds, from where the work stands, until there is no next one.

    A checkpoint is taken after pruning, after each epoch and after each round; everything between two of
    them follows from the state and from seeds alone.

    Args:
        work: What is worked on.
        next_round: From the number of finished rounds to the round that comes, or None at the end.
    """
    while (round_ := next_round(work.state.round)) is not None:
        state = work.state
        if not state.pruned:
            work.tell("prune")
            state.row = {"round": state.round + 1, **round_.prune()}
            state.row |= {"accuracy_before": work.score(), "losses": []}
            state.pruned = True
            work.checkpoint()
        _train(work, round_)
        trained = bool(state.row["losses"])
        state.row["accuracy_after"] = work.score() if trained else state.row["accuracy_before"]
        if round_.after is not None:
            round_.after(state.row)
        work.tell("round", round_.epochs, round_.epochs)
        state.history.append(state.row)
        state.round, state.row, state.pruned = state.round + 1, {}, False
        state.session, state.optimizer = None, {}
        work.checkpoint()


def _train(work: Work, round_: Round) -> None:
    state = work.state
    if state.session is not None and state.session["epoch"] >= round_.epochs:
        return
    work.tell("train", 0, round_.epochs)
    with work.trainer.session(
        work.model,
        work.data.train,
        round_.epochs,
        seed=work.round_seed,
        first=round_.first,
        masks=state.masks,
        penalty=round_.penalty,
        on_step=round_.on_step,
    ) as session:
        if state.session is not None:
            session.restore(state.optimizer, state.session)
        while not session.done:
            state.row["losses"].append(session.run_epoch())
            if round_.on_epoch is not None:
                round_.on_epoch(session.epoch)
            if "sparsity" in state.row and not work.cuts:
                state.row["sparsity"] = state.masks.sparsity
            state.optimizer, state.session = session.state()
            work.checkpoint()
            work.tell("epoch", session.epoch, round_.epochs)


def check_counts(**counts: int) -> None:
    """Refuse what is no count.

    Raises:
        ArgumentError: Not a whole number, or below 0 (below 1 for `rounds`).
    """
    for name, value in counts.items():
        least = 1 if name == "rounds" else 0
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ArgumentError(f"{name} must be a whole number of at least {least}, got {value!r}")
