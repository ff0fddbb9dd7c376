"""Tables and requests as JSON files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from autoprune.errors import ArgumentError
from autoprune.files import StrPath, write_text
from autoprune.latency.grid import Points
from autoprune.latency.target import Target
from autoprune.latency.template import Template

Values = tuple[PositiveInt, ...]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Wanted(_Strict):
    """A layer and the values of its variables at which it is to be measured."""

    template: Template
    points: tuple[Values, ...]

    @model_validator(mode="after")
    def _fit(self) -> "Wanted":
        for at in self.points:
            _check_length(at, self.template)
        return self


class Layer(_Strict):
    """A layer and its times: values of its variables, then milliseconds."""

    template: Template
    points: Annotated[tuple[tuple[Values, PositiveFloat], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _fit(self) -> "Layer":
        for at, _ in self.points:
            _check_length(at, self.template)
        return self

    def times(self) -> Points:
        """As a mapping."""
        return dict(self.points)


class TableFile(_Strict):
    """`LatencyTable` as a file."""

    format: Literal["autoprune latency table"] = "autoprune latency table"
    version: Literal[1] = 1
    target: Target
    layers: tuple[Layer, ...]


class RequestsFile(_Strict):
    """`Requests` as a file."""

    format: Literal["autoprune latency requests"] = "autoprune latency requests"
    version: Literal[1] = 1
    target: Target
    layers: tuple[Wanted, ...]


_File = TypeVar("_File", bound=BaseModel)


def read(kind: type[_File], path: StrPath, name: str) -> _File:
    """Read and check a file.

    Raises:
        ArgumentError: It is missing, truncated, or not what it should be; the message names file and fault.
    """
    try:
        return kind.model_validate_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(f"{name} '{path}' cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ArgumentError(f"{name} '{path}' is damaged: it is not UTF-8 text") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ArgumentError(
            f"{name} '{path}' is damaged at {where}: {first['msg']}; make it again"
        ) from error


def write(path: StrPath, content: BaseModel) -> None:
    """Write a file in one step."""
    body: Mapping[str, Any] = content.model_dump(mode="json")
    layers = ",\n".join(json.dumps(layer, separators=(",", ":")) for layer in body["layers"])
    head = json.dumps({key: value for key, value in body.items() if key != "layers"}, indent=1)
    write_text(path, f'{head[:-2]},\n "layers": [\n{layers}\n]}}\n')


def _check_length(at: Values, template: Template) -> None:
    if len(at) != template.variables:
        raise ValueError(f"a layer with {template.variables} variables has a point {list(at)}")
