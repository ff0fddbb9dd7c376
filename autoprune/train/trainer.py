"""The trainer: what a user may choose of a training, and the loop over epochs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from autoprune.errors import ArgumentError
from autoprune.graph.export import device_of
from autoprune.train.distill import Distillation
from autoprune.train.evaluate import training
from autoprune.train.parallel import Parallel
from autoprune.train.session import Session

if TYPE_CHECKING:
    from autoprune.masks import Masks

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
OptimizerFactory: TypeAlias = Callable[[Sequence[nn.Parameter]], Optimizer]
SchedulerFactory: TypeAlias = Callable[[Optimizer], Any]


def sgd(
    parameters: Sequence[nn.Parameter],
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
) -> Optimizer:
    """Nesterov SGD, the optimizer of a `Trainer` that is given none."""
    return torch.optim.SGD(list(parameters), lr, momentum, weight_decay=weight_decay, nesterov=momentum > 0)


@dataclass(frozen=True)
class Trainer:
    """A small training loop whose parts are the user's; data order and augmentation are the loader's.

    Attributes:
        optimizer: Makes the torch optimizer of a list of parameters. It is made anew for every call of
            `train` and for every round of a pipeline.
        scheduler: Makes the learning-rate scheduler of an optimizer; None falls to 0 along half a cosine
            over all steps. One whose state depends on anything but the number of its steps (a plateau)
            cannot be resumed exactly.
        every: Whether the scheduler steps after each optimizer "step" or after each "epoch".
        loss: Of outputs (N, classes) and labels (N,), a scalar.
        distill: Knowledge distillation beside the loss, or None.
        accelerate: True, or a Hugging Face `accelerate.Accelerator`, for several GPUs or nodes and mixed
            precision (extra `accelerate`); False trains in this process on the device of the model.

    Raises:
        ArgumentError: A part of the wrong kind, or `accelerate` without the package.
    """

    optimizer: OptimizerFactory = sgd
    scheduler: SchedulerFactory | None = None
    every: Literal["step", "epoch"] = "step"
    loss: Loss = functional.cross_entropy
    distill: Distillation | None = None
    accelerate: Any = False

    def __post_init__(self) -> None:
        for name in ("optimizer", "loss"):
            if not callable(getattr(self, name)):
                raise ArgumentError(f"{name} must be callable, got {type(getattr(self, name)).__name__}")
        if self.scheduler is not None and not callable(self.scheduler):
            raise ArgumentError(f"scheduler must be callable or None, got {type(self.scheduler).__name__}")
        if self.every not in ("step", "epoch"):
            raise ArgumentError(f"every must be 'step' or 'epoch', got {self.every!r}")
        if self.distill is not None and not isinstance(self.distill, Distillation):
            raise ArgumentError(f"distill must be a Distillation, got {type(self.distill).__name__}")
        if self.accelerate is True:
            object.__setattr__(self, "accelerate", Parallel.default())

    def taught_by(self, teacher: nn.Module) -> "Trainer":
        """The same trainer with a teacher for its distillation, if it distills and has none yet."""
        if self.distill is None or self.distill.teacher is not None:
            return self
        return replace(self, distill=replace(self.distill, teacher=teacher))

    def train(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        epochs: int,
        *,
        seed: int = 0,
        masks: "Masks | None" = None,
        penalty: Callable[[], Tensor] | None = None,
        on_epoch: Callable[[int, float], None] | None = None,
    ) -> list[float]:
        """Train `model` in place; its mode is restored.

        Args:
            model: Gives class scores of shape (N, classes).
            loader: Batches (inputs, labels), read once per epoch.
            epochs: Number of passes.
            seed: Seed of the shuffling and of dropout.
            masks: Weights to keep zero throughout (`autoprune.masks.Masks.enforce`).
            penalty: A scalar that is added to the loss of every step, such as a sparsity regularizer.
            on_epoch: Called after each epoch with its number (from 1) and its mean loss.

        Returns:
            The mean loss of every epoch.

        Raises:
            ArgumentError: `epochs` below 0.
            DataError: The loader is empty, or has no labels.
            ModelError: The loss is no longer finite.
        """
        losses: list[float] = []
        with self.session(model, loader, epochs, seed=seed, masks=masks, penalty=penalty) as session:
            while not session.done:
                losses.append(session.run_epoch())
                if on_epoch is not None:
                    on_epoch(session.epoch, losses[-1])
        return losses

    @contextmanager
    def session(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        epochs: int,
        *,
        seed: int = 0,
        first: int = 0,
        masks: "Masks | None" = None,
        penalty: Callable[[], Tensor] | None = None,
        on_step: "Callable[[Session], None] | None" = None,
    ) -> Iterator[Session]:
        """A training that the caller runs epoch by epoch and can save between epochs.

        Args:
            model: As for `train`.
            loader: As for `train`.
            epochs: Number of the last epoch.
            seed: As for `train`; epoch e draws from `seed + e`, whatever was run before it.
            first: Epochs to count as done: the learning rate goes on behind them.
            masks: As for `train`; `session.enforce` takes others in between.
            penalty: As for `train`.
            on_step: Called after every optimizer step; reads `session.step`.

        Raises:
            ArgumentError: `epochs` below 0.
        """
        if isinstance(epochs, bool) or epochs < 0:
            raise ArgumentError(f"epochs must be at least 0, got {epochs}")
        parallel = Parallel(self.accelerate, device_of(model))
        with ExitStack() as stack:
            stack.enter_context(training(model))
            stack.enter_context(parallel.randomness())
            session = Session(self, parallel, model, loader, epochs, seed, first, penalty, on_step)
            stack.callback(session.close)
            stack.enter_context(session.enforced(masks))
            yield session


def finetune(
    model: nn.Module,
    loader: Iterable[Any],
    epochs: int = 5,
    *,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    seed: int = 0,
    on_epoch: Callable[[int, float], None] | None = None,
    distill: Distillation | None = None,
    masks: "Masks | None" = None,
) -> list[float]:
    """Train `model` in place for a few epochs: Nesterov SGD, cross-entropy, a cosine learning rate.

    Enough to see what a pruned network recovers; `Trainer` takes an optimizer, a schedule and a loss of the
    user's own. The order of a shuffling loader follows from `seed`; the model's mode is restored.

    Args:
        model: Gives class scores of shape (N, classes).
        loader: Batches (inputs, labels), read once per epoch.
        epochs: Number of passes.
        lr: Learning rate of the first step; it falls to 0 along half a cosine.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        seed: Seed of the shuffling and of dropout.
        on_epoch: Called after each epoch with its number (from 1) and its mean loss.
        distill: Learn from a teacher too, such as the dense network.
        masks: Weights to keep zero throughout.

    Returns:
        The mean loss of every epoch.

    Raises:
        ArgumentError: `epochs` below 0.
        DataError: The loader is empty, or has no labels.
        ModelError: The loss is no longer finite.
    """
    factory = partial(sgd, lr=lr, momentum=momentum, weight_decay=weight_decay)
    trainer = Trainer(factory, distill=distill)
    return trainer.train(model, loader, epochs, seed=seed, masks=masks, on_epoch=on_epoch)
