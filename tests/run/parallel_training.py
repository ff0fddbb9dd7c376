"""What every process of `test_train_parallel.py` runs: `python parallel_training.py FOLDER`."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from autoprune.train import Trainer

EPOCHS, BATCH, IMAGES = 3, 8, 64


def tensors() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(IMAGES, 6, generator=generator)
    return x, (x @ torch.randn(6, 3, generator=generator)).argmax(1)


class Numbered(Dataset[dict[str, Any]]):
    """Images that say which ones they are."""

    def __init__(self) -> None:
        self._x, self._y = tensors()

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"x": self._x[number], "number": number, "labels": self._y[number]}


class Net(nn.Module):
    """Remembers which images it saw."""

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        middle = nn.BatchNorm1d(16) if norm else nn.Identity()
        self.layers = nn.Sequential(nn.Linear(6, 16), middle, nn.ReLU(), nn.Linear(16, 3))
        self.seen: list[list[int]] = []

    def forward(self, x: Tensor, number: Tensor) -> Tensor:
        self.seen.append(number.tolist())
        out: Tensor = self.layers(x)
        return out


def network(*, norm: bool) -> Net:
    torch.manual_seed(1)
    return Net(norm=norm)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    for norm in (False, True):
        model = network(norm=norm)
        loader = DataLoader(Numbered(), BATCH, shuffle=True)
        losses = Trainer(accelerate=True).train(model, loader, EPOCHS, seed=4)
        save_file(dict(model.state_dict()), folder / f"{norm}-{rank}.safetensors")
        (folder / f"{norm}-{rank}.json").write_text(json.dumps({"losses": losses, "seen": model.seen}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
