"""What a run directory records of the search that made it: enough to continue it and to check it."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from autoprune.errors import ArgumentError

LIBRARIES = ("autoprune", "torch", "numpy", "gymnasium", "stable-baselines3", "optuna")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _is_multiple(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("must be an integer of at least 1, or 'auto'")


class Settings(_Record):
    """The arguments of `search` that are plain values; `search` documents them.

    `init_policy` is the SHA-256 of the policy, whose copy lies beside.
    """

    budget: str
    agent: str
    agent_settings: dict[str, JsonValue] = {}
    episodes: int = Field(ge=1)
    criterion: str
    reward: str
    seed: int = Field(ge=0)
    device: str | None
    round_to: Annotated[int | Literal["auto"], BeforeValidator(_is_multiple)]
    lower: float = Field(ge=0, lt=1)
    search_images: int = Field(ge=1)
    calibration_images: int = Field(ge=1)
    fit_images: int = Field(ge=1)
    baselines: tuple[Literal["uniform", "greedy"], ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    floor_units: int = Field(default=1, ge=1)
    max_drop: float | None = Field(default=None, ge=0, lt=100)
    form: Literal["auto", "class", "graph"] = "auto"
    heads: bool = True
    inexact: bool = False
    init_policy: str | None = None
    workers: int = Field(default=1, ge=1)
    ray: str | None = None
    racing: bool = False
    precision: Literal["float32", "bfloat16", "float16"] = "float32"


def make_settings(**values: Any) -> Settings:
    """Check the plain arguments of a search.

    Raises:
        ArgumentError: Names the first that is out of range, with the rule and the value.
    """
    try:
        return Settings(**values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise ArgumentError(f"{name}: {problem['msg'].lower()}, got {problem['input']!r}") from error


class ModelRecord(_Record):
    """Which network: where it came from, names and shapes of its tensors, SHA-256 of it and its inputs."""

    source: str | None
    shapes: dict[str, tuple[int, ...]]
    sha256: str
    inputs_sha256: str


class DataRecord(_Record):
    """Which images: where they came from, and SHA-256 of those that the search reads."""

    source: str | None
    calibration_sha256: str
    search_sha256: str


class StudyRecord(_Record):
    """Which Optuna study.

    Attributes:
        storage: Its URL; None for the journal in the run directory.
        name: The study's name.
        complete: Whether `storage` is all that it takes to open it; false for an object or a hidden password.
    """

    storage: str | None
    name: str
    complete: bool


class Machine(_Record):
    """Where the run was started: what may change the last digits of a number."""

    versions: dict[str, str]
    platform: str
    threads: int

    @classmethod
    def here(cls) -> "Machine":
        """This process."""
        versions = {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}
        system = f"{platform.platform()}, {os.cpu_count()} CPUs"
        return cls(versions=versions, platform=system, threads=torch.get_num_threads())


class RunConfig(_Record):
    """`config.json`."""

    version: Literal[1] = 1
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    settings: Settings
    groups: dict[str, int]
    model: ModelRecord
    data: DataRecord
    study: StudyRecord
    machine: Machine = Field(default_factory=Machine.here)

    def body(self) -> dict[str, Any]:
        """As JSON values."""
        return self.model_dump(mode="json")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
