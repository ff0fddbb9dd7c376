"""What a search must remember after every episode, kept twice so that one damaged file costs nothing."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from autoprune.errors import RunError
from autoprune.files import sha256, sweep, write_tensors
from autoprune.run.stored import read_stored, write_stored

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The state of a search between two episodes.

    Attributes:
        agent: The agent's `state_dict`: tensors, numpy arrays and JSON values by name.
        history: One JSON row per finished episode.
    """

    agent: Mapping[str, Any]
    history: list[dict[str, Any]]


class Checkpoints:
    """The newest checkpoint and the one before it, in a folder.

    A checkpoint is a pair: `000012.safetensors` with the tensors, then `000012.json` with the rest, the
    checksum of the tensors and its own. The JSON file is written last, so that its presence means "complete".

    Args:
        folder: Made with the first checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint under the number of its episodes and drop all but the one before.

        Raises:
            OSError: The folder cannot be written to; the earlier checkpoints are intact.
            TypeError: The agent's state holds something that is neither tensor, array nor JSON.
        """
        tensors, arrays, values = _sort_by_kind(checkpoint.agent)
        target = self._file(len(checkpoint.history), "safetensors")
        write_tensors(target, tensors)
        body = {"tensors": sha256(target), "arrays": arrays, "agent": values, "history": checkpoint.history}
        write_stored(target.with_suffix(".json"), body)
        self._drop_old()

    def load(self) -> Checkpoint | None:
        """Read the newest checkpoint that is undamaged; None if none was ever written.

        Raises:
            RunError: Checkpoints exist and all of them are damaged.
        """
        problems = []
        for path in reversed(self._complete()):
            try:
                return self._read(path)
            except RunError as error:
                problems.append(str(error))
                logger.warning("%s; trying the checkpoint before it", error)
        if problems:
            raise RunError(f"no checkpoint of the run can be read: {'; '.join(problems)}")
        return None

    def _read(self, path: Path) -> Checkpoint:
        body = read_stored(path)
        tensors = path.with_suffix(".safetensors")
        try:
            if sha256(tensors) != body["tensors"]:
                raise RunError(f"'{tensors}' is damaged: its checksum does not match")
            state: dict[str, Any] = dict(load_file(tensors))
        except (OSError, SafetensorError) as error:
            raise RunError(f"cannot read '{tensors}': {error}") from error
        state |= {name: state[name].numpy() for name in body["arrays"]}
        return Checkpoint(state | body["agent"], body["history"])

    def _complete(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.json"))

    def _file(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:06d}.{suffix}"

    def _drop_old(self) -> None:
        """Remove everything but the two newest checkpoints: older ones, and what a killed process left."""
        sweep(self.folder)
        kept = {path.stem for path in self._complete()[-2:]}
        for path in self.folder.iterdir():
            if path.stem not in kept:
                path.unlink(missing_ok=True)


def _sort_by_kind(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str], dict[str, Any]]:
    """Split a state into tensors, the names of those that were numpy arrays, and JSON values."""
    tensors: dict[str, Tensor] = {}
    arrays: list[str] = []
    values: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(value, np.ndarray):
            tensors[name] = torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape))
            arrays.append(name)
        else:
            values[name] = value
    return tensors, arrays, values
