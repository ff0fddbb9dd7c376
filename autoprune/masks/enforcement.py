"""Masked weights that stay zero through training."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from autoprune.errors import ArgumentError
from autoprune.masks.targets import resolve


class Enforcement(AbstractContextManager["Enforcement"]):
    """While the block runs, no gradient, momentum or weight decay revives a masked weight.

    Entering zeroes the masked weights, their gradients and their optimizer state. Inside:

    - a gradient hook zeroes the gradients of masked weights as they arise, so that gradient clipping and
      loss scaling do not see them;
    - before each optimizer step the `.grad` of what is then the model's tensor is zeroed, whoever wrote it;
    - after each step the masked weights and their state (momentum, second moments) are zeroed, which makes
      it exact for every optimizer.

    Tensors are looked up by name at every step: a parameter may be replaced, moved, frozen or unfrozen in
    between. Copies that are made inside (`copy.deepcopy`, pickle) are not enforced; enter anew for them.
    Leaving takes all hooks off; the masked weights are then zero.

    Args:
        masks: Bool tensor by tensor name, True = stays.
        model: The model that trains.
        optimizers: Every optimizer that changes it.

    Raises:
        ArgumentError: Not an optimizer.
        MaskError: The masks do not fit the model.
    """

    def __init__(
        self, masks: Mapping[str, Tensor], model: nn.Module, optimizers: Sequence[Optimizer]
    ) -> None:
        for optimizer in optimizers:
            if not isinstance(optimizer, Optimizer):
                raise ArgumentError(
                    f"optimizers must be torch.optim.Optimizer objects, got {type(optimizer).__name__}: "
                    "pass the torch optimizer that a wrapper holds"
                )
        self._model = model
        self._optimizers = tuple(optimizers)
        self._handles: list[RemovableHandle] = []
        self._active = False
        self._gone = self._complement(masks)

    def __enter__(self) -> Self:
        self._attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._detach()

    def update(self, masks: Mapping[str, Tensor]) -> None:
        """Go on with other masks, as a schedule asks for.

        Weights that were masked and no longer are train again from zero.

        Raises:
            MaskError: The masks do not fit the model; the old ones then stay in force.
        """
        gone = self._complement(masks)
        active = self._active
        self._detach()
        self._gone = gone
        if active:
            self._attach()

    def _complement(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: ~masks[name].to(tensor.device) for name, tensor in resolve(masks, self._model).items()}

    def _attach(self) -> None:
        self._hold()
        self._active = True
        for optimizer in self._optimizers:
            self._handles.append(optimizer.register_step_pre_hook(self._before_step))
            self._handles.append(optimizer.register_step_post_hook(self._after_step))
        for name, tensor in resolve(self._gone, self._model).items():
            if tensor.requires_grad:
                hook = partial(self._masked, name)
                self._handles.append(tensor.register_hook(hook))  # type: ignore[no-untyped-call]

    def _detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._active = False

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._zero_gradients()

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._hold()

    def _masked(self, name: str, gradient: Tensor) -> Tensor:
        """`gradient` without its masked entries; sparse ones pass, as the step's own hooks see to them."""
        if gradient.layout != torch.strided:
            return gradient
        return gradient.masked_fill(self._where(name, gradient), 0)

    @torch.no_grad()
    def _hold(self) -> None:
        """Zero the masked weights, their gradients and their optimizer state."""
        for name, tensor in resolve(self._gone, self._model).items():
            gone = self._where(name, tensor)
            tensor.masked_fill_(gone, 0)
            for optimizer in self._optimizers:
                for value in optimizer.state.get(tensor, {}).values():
                    if isinstance(value, Tensor) and value.shape == tensor.shape:
                        value.masked_fill_(gone.to(value.device), 0)
        self._zero_gradients()

    @torch.no_grad()
    def _zero_gradients(self) -> None:
        for name, tensor in resolve(self._gone, self._model).items():
            if tensor.grad is not None and tensor.grad.layout == torch.strided:
                tensor.grad.masked_fill_(self._where(name, tensor.grad), 0)

    def _where(self, name: str, like: Tensor) -> Tensor:
        """The masked positions on the device of `like`."""
        if self._gone[name].device != like.device:
            self._gone[name] = self._gone[name].to(like.device)
        return self._gone[name]
