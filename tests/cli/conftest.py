"""A folder with a user's model and data, as the command line would find them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NETWORK = '''
import torch
from torch import nn

from autoprune import DataSplits


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1)
        self.linear = nn.Linear(12, 4)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        return self.linear(self.conv2(x).relu().mean((2, 3)))


def net():
    torch.manual_seed(3)
    return Net().eval()


def broken():
    raise OSError("the weights are not there")


def number():
    return 3


table = {"a": 1}


class Counted(list):
    """Counts the passes over it, for the test that a search leaves the test set alone."""

    passes = 0

    def __iter__(self):
        Counted.passes += 1
        return super().__iter__()


def _batches(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(16, 1, 6, 6, generator=generator), torch.randint(4, (16,), generator=generator))
        for _ in range(count)
    ]


def data():
    return DataSplits(_batches(4, 0), _batches(4, 1), Counted(_batches(4, 2)))


def no_test():
    return DataSplits(_batches(4, 0), _batches(4, 1))
'''


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with `user_zoo.py`: `net`, `data`, and things that are wrong in several ways."""
    (tmp_path / "user_zoo.py").write_text(NETWORK)
    (tmp_path / "user_broken.py").write_text("import user_missing_dependency\n")
    (tmp_path / "user_raises.py").write_text("raise RuntimeError('no luck')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("user_")]:
        del sys.modules[name]
