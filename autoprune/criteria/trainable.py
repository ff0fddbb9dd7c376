"""Scores that are learned by gradient."""

import copy
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.gates import Gated, Relaxation, relaxation
from autoprune.data import Batch, as_batch
from autoprune.errors import ArgumentError, DataError, ModelError


class Trainable(Criterion):
    """Expected gates, one per unit, after a short training with a price on every open gate.

    The loss is the cross-entropy of the gated network plus `penalty` times the expected share of open gates
    (the L0 regularizer of Louizos et al. 2018, arXiv:1712.01312, equation 4, per unit). A unit that the
    network can do without closes, since open gates cost. The network runs in eval mode.

    To learn gates during a fine-tuning of one's own, train `autoprune.criteria.gates.Gated` instead.

    Args:
        kind: How gates are relaxed: "hard_concrete", "straight_through" or "scale", or an object.
        steps: Optimizer steps (Adam); the images are read again and again.
        lr: Learning rate of the gates.
        penalty: Factor of the regularizer.
        train_weights: Train a copy of the weights along, instead of leaving them as they are.

    Raises:
        ArgumentError: A value outside its rules.
    """

    name: ClassVar[str] = "trainable"
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "gradients", "data"})
    source: ClassVar[str] = "Louizos et al. 2018, arXiv:1712.01312"
    runs: ClassVar[bool] = True

    def __init__(
        self,
        kind: str | Relaxation = "hard_concrete",
        *,
        steps: int = 100,
        lr: float = 0.1,
        penalty: float = 0.5,
        train_weights: bool = False,
    ) -> None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ArgumentError(f"steps must be a whole number of at least 1, got {steps!r}")
        if not 0 < lr < float("inf"):
            raise ArgumentError(f"lr must be above 0, got {lr!r}")
        if not 0 <= penalty < float("inf"):
            raise ArgumentError(f"penalty must be at least 0, got {penalty!r}")
        self.kind, self.steps, self.lr, self.penalty = relaxation(kind), steps, lr, penalty
        self.train_weights = train_weights

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Expected gates in 0..1.

        Raises:
            ArgumentError: The context has no batches.
            DataError: No image, or images without labels.
            ModelError: The loss is no longer finite.
        """
        if context.batches is None:
            raise ArgumentError("criterion 'trainable' runs the network and needs batches, got None")
        if not context.graph.prunable:
            return {}
        network = copy.deepcopy(context.model).eval().requires_grad_(self.train_weights)
        seed = int(torch.randint(2**31, (), generator=context.generator))
        gated = Gated(context.graph, network, self.kind, seed=seed)
        device = gated.gates[0].device
        gated.train()
        network.eval()
        # Weights move slowly beside the gates: they are trained already.
        groups: list[dict[str, Any]] = [{"params": list(gated.gates)}]
        if self.train_weights:
            groups.append({"params": list(network.parameters()), "lr": 0.01 * self.lr})
        optimizer = torch.optim.Adam(groups, self.lr)
        with torch.enable_grad():
            for batch in islice(_forever(context.batches), self.steps):
                self._step(gated, optimizer, batch.to(device))
        return gated.expected()

    def _step(self, gated: Gated, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
        from autoprune.score import logits_of
        from autoprune.score.batches import call

        if batch.labels is None:
            raise DataError("criterion 'trainable' needs labels, got images without")
        loss = functional.cross_entropy(logits_of(call(gated, batch.inputs)), batch.labels)
        loss = loss + self.penalty * gated.open()
        if not bool(torch.isfinite(loss)):
            raise ModelError(f"the loss must stay finite, got {loss.item()}; learn gates with a smaller lr")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _forever(batches: Iterable[Any]) -> Iterator[Batch]:
    """The batches again and again."""
    while True:
        empty = True
        for raw in batches:
            empty = False
            yield as_batch(raw)
        if empty:
            raise DataError("criterion 'trainable' needs images, got none")
