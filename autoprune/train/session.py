"""A running training: epoch by epoch, saved and restored between two of them."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from autoprune.data import Batch, read
from autoprune.errors import DataError, ModelError
from autoprune.masks import Masks
from autoprune.score import logits_of
from autoprune.score.batches import call
from autoprune.train.optimizer import optimizer_state, restore_optimizer
from autoprune.train.parallel import Parallel

if TYPE_CHECKING:
    from autoprune.masks import Enforcement
    from autoprune.train.trainer import Trainer

logger = logging.getLogger(__name__)


class Session:
    """One training of one model; made by `Trainer.session`.

    Attributes:
        epoch: Epochs done, those that were counted as done at the start included.
        epochs: Number of the last epoch.
        steps_per_epoch: Batches in the loader.
    """

    def __init__(
        self,
        trainer: "Trainer",
        parallel: Parallel,
        model: nn.Module,
        loader: Iterable[Any],
        epochs: int,
        seed: int,
        first: int,
        penalty: Callable[[], Tensor] | None,
        on_step: "Callable[[Session], None] | None",
    ) -> None:
        self._trainer, self._parallel, self._bare = trainer, parallel, model
        self._seed, self._penalty, self._on_step = seed, penalty, on_step
        self.epoch, self.epochs, self._batch = first, epochs, 0
        self._enforcement: Enforcement | None = None
        trained = [p for p in model.parameters() if p.requires_grad]
        if epochs == 0 or not trained:
            self.epoch = self.epochs
        if self.done:
            return
        self._optimizer = trainer.optimizer(trained)
        self._model, self._stepper, self._loader = parallel.prepare(model, self._optimizer, loader)
        self.steps_per_epoch = max(1, _length(self._loader))
        self._schedule = self._make_schedule()
        self._replay(first)

    @property
    def done(self) -> bool:
        """Whether all epochs are run."""
        return self.epoch >= self.epochs

    @property
    def step(self) -> int:
        """Optimizer steps done, those of all epochs so far."""
        return self.epoch * self.steps_per_epoch + self._batch

    @contextmanager
    def enforced(self, masks: Masks | None) -> Iterator[None]:
        """Keep masked weights zero inside the block."""
        if self.done:
            if masks is not None:
                masks.bake(self._bare)
            yield
            return
        with (masks or Masks({})).enforce(self._bare, self._optimizer) as enforcement:
            self._enforcement = enforcement
            yield

    def enforce(self, masks: Masks) -> None:
        """Go on with other masks."""
        assert self._enforcement is not None
        self._enforcement.update(masks)

    def run_epoch(self) -> float:
        """Read the loader once.

        Returns:
            The mean loss over its images, those of all processes.

        Raises:
            DataError: The loader is empty, or has no labels.
            ModelError: The loss is no longer finite.
        """
        torch.manual_seed(self._seed + self.epoch)
        total, images = 0.0, 0.0
        device = self._parallel.device
        for batch in read(self._loader, seed=self._seed + self.epoch, name="loader", device=device):
            total += self._train(batch) * batch.size
            images += batch.size
        total, images = self._parallel.total(total, images)
        self.epoch, self._batch = self.epoch + 1, 0
        self._parallel.synchronize(self._bare)
        if self._trainer.every == "epoch":
            self._schedule.step()
        logger.info("epoch %d of %d: loss %.4f", self.epoch, self.epochs, total / images)
        return total / images

    def _train(self, batch: Batch) -> float:
        loss = self._loss(batch)
        if not bool(torch.isfinite(loss)):
            raise ModelError(f"the loss must stay finite, got {loss.item()}; fine-tune with a smaller lr")
        self._stepper.zero_grad()
        self._parallel.backward(loss)
        self._stepper.step()
        if self._trainer.every == "step":
            self._schedule.step()
        self._batch += 1
        if self._on_step is not None:
            self._on_step(self)
        return float(loss.detach())

    def _loss(self, batch: Batch) -> Tensor:
        outputs = logits_of(call(self._model, batch.inputs))
        distill = self._trainer.distill
        weight = 0.0 if distill is None else distill.weight
        loss = outputs.new_zeros(())
        if weight < 1:
            if batch.labels is None:
                raise DataError("loader must give (inputs, labels) to fine-tune, got inputs alone")
            loss = (1 - weight) * self._trainer.loss(outputs, batch.labels)
        if distill is not None and weight > 0:
            loss = loss + weight * distill.divergence(outputs, batch.inputs)
        return loss if self._penalty is None else loss + self._penalty()

    def close(self) -> None:
        """End the training, on all processes with the same network."""
        self._parallel.synchronize(self._bare)
        self._parallel.release()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that continues the training beside the model: tensors, and JSON values.

        Raises:
            RunError: The optimizer keeps something that is neither tensor nor JSON.
        """
        tensors, values = optimizer_state(self._optimizer)
        return tensors, {"epoch": self.epoch, "optimizer": values}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; the model must be as it was then."""
        self._replay(values["epoch"] - self.epoch)
        self.epoch = values["epoch"]
        restore_optimizer(self._optimizer, tensors, values["optimizer"])

    def _make_schedule(self) -> Any:
        if self._trainer.scheduler is not None:
            return self._trainer.scheduler(self._optimizer)
        steps = self.epochs * (self.steps_per_epoch if self._trainer.every == "step" else 1)
        return torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, steps)

    def _replay(self, epochs: int) -> None:
        """Step the schedule as often as `epochs` epochs do."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            for _ in range(epochs * (self.steps_per_epoch if self._trainer.every == "step" else 1)):
                self._schedule.step()


def _length(loader: Iterable[Any]) -> int:
    if isinstance(loader, Sized):
        return len(loader)
    return sum(1 for _ in read(loader, seed=0, name="loader"))
