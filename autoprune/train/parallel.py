"""One process on one device, or Hugging Face Accelerate for several."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from autoprune.errors import ArgumentError


class Parallel:
    """What differs between a training in this process alone and one with an `Accelerator`.

    Args:
        accelerator: An object with the methods of `accelerate.Accelerator`, or False or None for none.
        device: Where the model is.
    """

    def __init__(self, accelerator: Any, device: torch.device) -> None:
        self._accelerator = accelerator or None
        self.device = device if self._accelerator is None else torch.device(accelerator.device)

    @staticmethod
    def default() -> Any:
        """A new `accelerate.Accelerator()`.

        Raises:
            ArgumentError: The package is not installed.
        """
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise ArgumentError(
                "accelerate=True needs Hugging Face Accelerate: pip install 'autoprune[accelerate]'"
            ) from error
        return Accelerator()

    def prepare(
        self, model: nn.Module, optimizer: Optimizer, loader: Iterable[Any]
    ) -> tuple[nn.Module, Any, Iterable[Any]]:
        """Model, optimizer and loader as they run here; a loader that is no DataLoader stays as it is."""
        if self._accelerator is None:
            return model, optimizer, loader
        model.to(self.device)
        if isinstance(loader, torch.utils.data.DataLoader):
            prepared: tuple[nn.Module, Any, Iterable[Any]] = self._accelerator.prepare(
                model, optimizer, loader
            )
            return prepared
        return (*self._accelerator.prepare(model, optimizer), loader)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`."""
        if self._accelerator is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self._accelerator.backward(loss)

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes files."""
        return self._accelerator is None or bool(self._accelerator.is_main_process)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()

    def synchronize(self, model: nn.Module) -> None:
        """Give all processes the tensors of the main one: batch-norm statistics differ between them."""
        if self._accelerator is None or self._accelerator.num_processes == 1:
            return
        from accelerate.utils import broadcast

        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.copy_(broadcast(tensor.detach().clone(), from_process=0))

    def total(self, *values: float) -> tuple[float, ...]:
        """The sums of numbers over all processes."""
        if self._accelerator is None or self._accelerator.num_processes == 1:
            return values
        own = torch.tensor(values, dtype=torch.float64, device=self.device)
        return tuple(self._accelerator.reduce(own, "sum").tolist())

    def release(self) -> None:
        """Forget what was prepared: the next training prepares anew."""
        if self._accelerator is not None:
            self._accelerator.free_memory()

    @contextmanager
    def randomness(self) -> Iterator[None]:
        """Global torch randomness that is restored at the end."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            yield
