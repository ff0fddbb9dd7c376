"""What all tests share: one thread, fixed seeds, and the optional CIFAR-10 material."""

import importlib.util
import os
import random
import signal
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

torch.set_num_threads(1)
# A shell starts what runs in its background with SIGINT ignored, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
CIFAR = Path(os.environ.get("AUTOPRUNE_CIFAR", ROOT.parent / "shared" / "cifar"))


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Start every test from the same global random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def _load(name: str) -> ModuleType:
    """Import one file of the CIFAR folder under a name that cannot collide with anything installed."""
    unique = f"cifar_{name}"
    if unique not in sys.modules:
        spec = importlib.util.spec_from_file_location(unique, CIFAR / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[unique] = module
        spec.loader.exec_module(module)
    return sys.modules[unique]


@pytest.fixture(scope="session")
def cifar() -> SimpleNamespace:
    """The modules `models` (trained ResNet-20 and -56) and `data` (CIFAR-10), and their folder `path`."""
    if not (CIFAR / "models.py").exists():
        pytest.skip(
            f"needs the CIFAR-10 data and weights in {CIFAR} (or in the folder that AUTOPRUNE_CIFAR names)"
        )
    pytest.importorskip("PIL", reason="reading CIFAR-10 needs pillow")
    return SimpleNamespace(models=_load("models"), data=_load("data"), path=CIFAR)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the source tree."""
    return ROOT
