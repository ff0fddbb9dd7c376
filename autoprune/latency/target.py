"""Where and how times were measured."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, PositiveInt

_LIBRARIES = {"eager": ("torch",), "compile": ("torch",), "onnxruntime": ("torch", "onnxruntime")}


class Target(BaseModel):
    """The machine and the settings behind a table of times; times of different targets are not compared.

    Attributes:
        machine: System, architecture, processor and, on an accelerator, its name.
        device: "cpu" or "cuda".
        backend: "eager", "compile" or "onnxruntime".
        threads: Threads of one forward pass.
        batch: Batch size of the example inputs.
        dtype: Type of the weights, for example "float32".
        versions: Of the libraries that run the layers.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    machine: str
    device: str
    backend: str
    threads: PositiveInt
    batch: PositiveInt
    dtype: str
    versions: dict[str, str]

    @classmethod
    def here(
        cls,
        backend: str = "eager",
        *,
        threads: int | None = None,
        batch: int = 1,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> "Target":
        """This machine; `threads` None takes what PyTorch uses now."""
        return cls(
            machine=_machine(device),
            device=device,
            backend=backend,
            threads=torch.get_num_threads() if threads is None else threads,
            batch=batch,
            dtype=dtype,
            versions={name: _version(name) for name in _LIBRARIES.get(backend, ("torch",))},
        )

    def differences(self, other: "Target") -> tuple[str, ...]:
        """What differs, in words: `threads: 1 against 4`; empty if the times can be compared."""
        mine, theirs = self.model_dump(), other.model_dump()
        return tuple(
            f"{name}: {mine[name]} against {theirs[name]}" for name in mine if mine[name] != theirs[name]
        )

    def like_here(self) -> "Target":
        """This machine with the settings of this target."""
        return Target.here(
            self.backend, threads=self.threads, batch=self.batch, dtype=self.dtype, device=self.device
        )


@cache
def _machine(device: str) -> str:
    parts = [platform.system(), platform.machine(), _processor()]
    if device == "cuda":
        parts.append(torch.cuda.get_device_name())
    return ", ".join(part for part in parts if part)


def _processor() -> str:
    """The processor's model; several names of it differ by system."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Hardware", "Model")):
                return line.partition(":")[2].strip()
    except (OSError, UnicodeDecodeError):
        pass
    return platform.processor()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
