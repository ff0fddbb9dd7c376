import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autoprune.errors import RunError
from autoprune.run.checkpoint import Checkpoint, Checkpoints
from tests.killed import killed_while


def state(number: int) -> dict[str, Any]:
    return {
        "actor.weight": torch.full((2, 3), float(number)),
        "scalar": torch.tensor(number),
        "buffer": np.arange(number, dtype=np.float64),
        "rng": {"state": 2**120 + number, "kind": "PCG64"},
        "noise": 0.1 * number,
        "empty": None,
    }


def save(folder: Path, upto: int) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for number in range(1, upto + 1):
        history = [{"number": i, "score": -1.0 / (i + 1)} for i in range(number)]
        checkpoints.save(Checkpoint(state(number), history))
    return checkpoints


def loaded_number(checkpoints: Checkpoints) -> int:
    checkpoint = checkpoints.load()
    assert checkpoint is not None
    return len(checkpoint.history)


def test_everything_comes_back_exactly(tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "c", 3).load()
    assert checkpoint is not None
    want = state(3)
    assert checkpoint.history == [{"number": i, "score": -1.0 / (i + 1)} for i in range(3)]
    assert checkpoint.agent.keys() == want.keys()
    for name, value in want.items():
        got = checkpoint.agent[name]
        assert type(got) is type(value)
        if isinstance(value, torch.Tensor):
            assert torch.equal(got, value) and got.dtype == value.dtype
        elif isinstance(value, np.ndarray):
            assert np.array_equal(got, value) and got.dtype == value.dtype
        else:
            assert got == value


def test_no_checkpoint_yet(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "c").load() is None


def test_an_agent_without_tensors(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(Checkpoint({"done": 1}, [{}]))
    checkpoint = checkpoints.load()
    assert checkpoint is not None and checkpoint.agent == {"done": 1}


def test_two_are_kept_and_leftovers_go(tmp_path: Path) -> None:
    checkpoints = save(tmp_path, 4)
    (tmp_path / ".000005.json.123-ab.tmp").write_text("half")
    (tmp_path / "000005.safetensors").write_bytes(b"half")
    history: list[dict[str, Any]] = [{}] * 5
    checkpoints.save(Checkpoint(state(5), history))
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["000004.json", "000004.safetensors", "000005.json", "000005.safetensors"]


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "remove"])
def test_a_damaged_newest_falls_back(tmp_path: Path, suffix: str, damage: str) -> None:
    checkpoints = save(tmp_path, 4)
    spoil(tmp_path / f"000004.{suffix}", damage)
    assert loaded_number(checkpoints) == 3


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_both_damaged_names_them_and_keeps_them(tmp_path: Path, suffix: str) -> None:
    checkpoints = save(tmp_path, 4)
    for number in (3, 4):
        spoil(tmp_path / f"00000{number}.{suffix}", "flip")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(RunError, match=rf"000004\.{suffix}.*000003\.{suffix}"):
        checkpoints.load()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_torn_pair_is_not_a_checkpoint(tmp_path: Path) -> None:
    checkpoints = save(tmp_path, 2)
    (tmp_path / "000003.safetensors").write_bytes((tmp_path / "000002.safetensors").read_bytes())
    assert loaded_number(checkpoints) == 2


def test_a_state_that_cannot_be_stored_leaves_the_old_one(tmp_path: Path) -> None:
    checkpoints = save(tmp_path, 2)
    with pytest.raises(TypeError):
        checkpoints.save(Checkpoint({"policy": object()}, [{}] * 3))
    assert loaded_number(checkpoints) == 2


def spoil(path: Path, damage: str) -> None:
    data = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
        return
    if damage == "flip":
        spot = max(i for i, byte in enumerate(data) if chr(byte).isalnum() or path.suffix != ".json")
        data[spot] ^= 0x04
    path.write_bytes({"truncate": data[: len(data) // 2], "empty": b"", "flip": data}[damage])


@pytest.mark.parametrize("big", ["tensors", "history"])
def test_a_write_that_the_system_cuts_off_leaves_the_old_checkpoints(big: str, tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: the write really fails half way."""
    save(tmp_path, 2)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        agent = {"weights": torch.zeros(4096 if big == "tensors" else 1)}
        try:
            Checkpoints(tmp_path).save(
                Checkpoint(agent, [{"note": "x" * (4096 if big == "history" else 1)}] * 3)
            )
        except OSError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.stem != "000003"} == before
    assert loaded_number(Checkpoints(tmp_path)) == 2


def test_what_a_killed_writer_left_is_swept_by_the_next(tmp_path: Path) -> None:
    save(tmp_path, 2)
    names = {p.name for p in tmp_path.iterdir()}
    full = Checkpoint({"weights": torch.zeros(4096)}, [{}] * 3)
    killed_while(lambda: Checkpoints(tmp_path).save(full))
    assert {p.name for p in tmp_path.iterdir()} > names
    Checkpoints(tmp_path).save(full)
    assert {p.stem for p in tmp_path.iterdir()} == {"000002", "000003"}
