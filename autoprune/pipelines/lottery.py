"""The lottery ticket hypothesis: train, prune, go back, train again."""

from collections.abc import Sequence
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from autoprune.criteria import Criterion, Random
from autoprune.data import Splits
from autoprune.errors import ArgumentError, ModelError
from autoprune.masks import Granularity, Masks
from autoprune.pipelines.loop import Round, check_counts, run_rounds
from autoprune.pipelines.options import Options
from autoprune.pipelines.result import PipelineResult
from autoprune.pipelines.sparsify import Scope, Sparsifier, pruned_to
from autoprune.pipelines.targets import round_targets
from autoprune.pipelines.work import Work, working
from autoprune.schedules import Schedule

Control = Literal["random", "reinit"]

EARLY, TICKET, TICKET_MASKS = "early", "ticket", "ticket masks"


def lottery_ticket(
    model: nn.Module,
    data: Splits,
    sparsity: float | None = None,
    *,
    rounds: int = 5,
    epochs: int = 10,
    rewind_epoch: int = 0,
    control: Control | None = None,
    schedule: str | Schedule = "geometric",
    criterion: str | Criterion = "l1",
    granularity: str | Granularity = "weight",
    scope: Scope = "layer",
    floor: float = 0.01,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    **options: Unpack[Options],
) -> PipelineResult:
    """Find a sparse network that trains from its first weights as the dense one does.

    Round 1 trains the dense network. Each further round prunes the trained weights, sets all that is left
    back to what it was at the start (Frankle and Carbin 2019, arXiv:1803.03635) or after `rewind_epoch`
    epochs (Frankle et al. 2020, arXiv:1912.05671), and trains again from there to epoch `epochs`.

    Args:
        model: Network with its first, untrained weights; untouched.
        data: As for `iterative_magnitude`.
        sparsity: As for `iterative_magnitude`.
        rounds: How often to prune.
        epochs: Of each training.
        rewind_epoch: Epoch of the first training to go back to, 0 for its start; the learning rate goes on
            from there.
        control: A last round with a network that should do worse: "random" trains a random mask of the same
            sparsity in each layer from the same early weights, "reinit" the ticket's mask from new random
            weights. Its row in the history names it; the result is the ticket all the same.
        schedule: As for `iterative_magnitude`.
        criterion: As for `iterative_magnitude`.
        granularity: As for `iterative_magnitude`.
        scope: As for `iterative_magnitude`.
        floor: As for `iterative_magnitude`.
        include: As for `iterative_magnitude`.
        exclude: As for `iterative_magnitude`.
        options: See `Options`.

    Returns:
        The trained ticket and its masks.

    Raises:
        ArgumentError: An argument outside its rules.
        ModelError: `control="reinit"` and a layer that cannot be initialized anew.
    """
    check_counts(rounds=rounds, epochs=epochs, rewind_epoch=rewind_epoch)
    if rewind_epoch > epochs:
        raise ArgumentError(f"rewind_epoch must not exceed epochs={epochs}, got {rewind_epoch}")
    if control not in (None, "random", "reinit"):
        raise ArgumentError(f"control must be 'random', 'reinit' or None, got {control!r}")
    if control == "reinit":
        _check_reinit(model)
    sparsify = Sparsifier(criterion, granularity, scope, floor, include, exclude)
    targets = round_targets(sparsify, sparsity, rounds, schedule)
    settings = {
        **sparsify.settings, "targets": list(targets), "epochs": epochs, "rewind_epoch": rewind_epoch,
        "control": control,
    }  # fmt: skip
    with working("lottery_ticket", model, data, settings, options) as work:
        lottery = _Lottery(work, sparsify, targets, epochs, rewind_epoch, control)
        work.rounds = lottery.rounds
        run_rounds(work, lottery.next_round)
        if control is not None:
            lottery.claim()
        return work.finish()


class _Lottery:
    """The rounds of one lottery."""

    def __init__(
        self,
        work: Work,
        sparsify: Sparsifier,
        targets: Sequence[float],
        epochs: int,
        rewind_epoch: int,
        control: Control | None,
    ) -> None:
        self._work, self._sparsify, self._targets = work, sparsify, targets
        self._epochs, self._rewind_epoch, self._control = epochs, rewind_epoch, control
        self.rounds = 1 + len(targets) + (control is not None)

    def next_round(self, done: int) -> Round | None:
        """The dense training, the tickets, the control."""
        if done == 0:
            return Round(self._begin, self._epochs, on_epoch=self._keep_early)
        first = self._rewind_epoch
        if done <= len(self._targets):
            return Round(lambda: self._draw(self._targets[done - 1]), self._epochs, first)
        if done < self.rounds:
            return Round(self._imitate, self._epochs, 0 if self._control == "reinit" else first)
        return None

    def claim(self) -> None:
        """Go back from the control to the ticket."""
        self._work.recall(TICKET)
        self._work.state.masks = Masks(self._work.state.copies[TICKET_MASKS])

    def _begin(self) -> dict[str, Any]:
        self._keep_early(0)
        return {"sparsity": 0.0}

    def _keep_early(self, epoch: int) -> None:
        if epoch == self._rewind_epoch:
            self._work.remember(EARLY)

    def _draw(self, target: float) -> dict[str, Any]:
        said = pruned_to(self._work, self._sparsify, target)
        self._work.recall(EARLY)
        self._work.state.masks.bake(self._work.model)
        return said

    def _imitate(self) -> dict[str, Any]:
        work, masks = self._work, self._work.state.masks
        work.remember(TICKET)
        work.state.copies[TICKET_MASKS] = dict(masks)
        if self._control == "random":
            work.recall(EARLY)
            work.state.masks = self._random(masks)
        else:
            _reinitialize(work.model, work.round_seed)
        work.state.masks.bake(work.model)
        return {"sparsity": work.state.masks.sparsity, "control": self._control}

    def _random(self, masks: Masks) -> Masks:
        """A random mask with as many units in every tensor."""
        plain = Sparsifier(Random(), self._sparsify.granularity, "layer", 0.0)
        generator = torch.Generator().manual_seed(self._work.round_seed)
        found: dict[str, Tensor] = {}
        for name, mask in masks.items():
            scores = {name: torch.rand(mask.shape, generator=generator)}
            found[name] = plain.masks(scores, masks.sparsities[name], Masks({}))[name]
        return Masks(found)


def _check_reinit(model: nn.Module) -> None:
    for path, module in model.named_modules():
        own = any(True for _ in module.parameters(recurse=False))
        if own and not callable(getattr(module, "reset_parameters", None)):
            raise ModelError(
                f"control='reinit' needs layers with reset_parameters(), but '{path}' "
                f"({type(module).__name__}) has none; use control='random'"
            )


def _reinitialize(model: nn.Module, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
