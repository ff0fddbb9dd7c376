"""Fine-tuning with Accelerate by two real processes, against plain PyTorch on the same global batches."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from tests.run import parallel_training
from tests.run.parallel_training import BATCH, EPOCHS, IMAGES, network, tensors

pytest.importorskip("accelerate", reason="needs Hugging Face Accelerate")
STEPS = IMAGES // (2 * BATCH)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """What two processes wrote that were started as a user would start them."""
    path = tmp_path_factory.mktemp("parallel")
    script = str(parallel_training.__file__)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, str(path)]
    settings = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    settings["PYTHONPATH"] = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *words],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return path


def told(folder: Path, norm: bool, rank: int) -> Any:
    return json.loads((folder / f"{norm}-{rank}.json").read_text())


@pytest.mark.parametrize("norm", [False, True])
def test_both_processes_end_with_the_same_network_and_losses(norm: bool, folder: Path) -> None:
    first, second = (load_file(folder / f"{norm}-{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert told(folder, norm, 0)["losses"] == told(folder, norm, 1)["losses"]
    assert first["layers.0.weight"].ne(network(norm=norm).layers[0].weight).any()  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", [False, True])
def test_they_share_the_images_of_every_epoch(norm: bool, folder: Path) -> None:
    seen = [told(folder, norm, rank)["seen"] for rank in (0, 1)]
    epochs = []
    for epoch in range(EPOCHS):
        steps = [batch for own in seen for batch in own[epoch * STEPS : (epoch + 1) * STEPS]]
        epochs.append([number for batch in steps for number in batch])
        assert sorted(epochs[-1]) == list(range(IMAGES))
    assert epochs[0] != epochs[1] != epochs[2]


def test_they_train_as_one_process_does_on_the_same_global_batches(folder: Path) -> None:
    first, second = (told(folder, False, rank) for rank in (0, 1))
    x, y = tensors()
    model = network(norm=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * STEPS)
    losses = []
    for one, other in zip(first["seen"], second["seen"], strict=True):
        batch = torch.tensor(one + other)
        loss = functional.cross_entropy(model(x[batch], batch), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    got = load_file(folder / "False-0.safetensors")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-5, atol=1e-6)
    means = [sum(losses[e * STEPS : (e + 1) * STEPS]) / STEPS for e in range(EPOCHS)]
    assert first["losses"] == pytest.approx(means, rel=1e-5)
