"""The plan: which units stay, as a frozen object and as a JSON file."""

import json
import os
import re
from collections.abc import Mapping
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from autoprune.errors import PlanError
from autoprune.files import write_text

VERSION = 1


def _ascending(indices: tuple[int, ...]) -> tuple[int, ...]:
    for before, after in pairwise(indices):
        if before >= after:
            raise ValueError(f"indices must ascend without repetition, got {before} before {after}")
    return indices


Indices = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), AfterValidator(_ascending)]
Shape = tuple[NonNegativeInt, ...]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Kept(_Strict):
    """The units of one group that stay.

    Attributes:
        size: Number of units in the dense network.
        keep: The units that stay, ascending.
    """

    size: PositiveInt
    keep: Indices

    @model_validator(mode="after")
    def _inside(self) -> "Kept":
        _check_inside(self.keep, self.size)
        return self


class Costs(_Strict):
    """Costs of one forward pass of the example inputs, by name: `macs` and `params`, and others where known.

    Attributes:
        dense: Of the dense network.
        found: Of the pruned network.
    """

    dense: dict[str, NonNegativeInt | NonNegativeFloat]
    found: dict[str, NonNegativeInt | NonNegativeFloat]


class Exported(_Strict):
    """What it takes to make a network of the form "graph" again.

    Attributes:
        reason: Why the pruned network is not the model's own class.
        heads: Whether units of attention are whole heads; else they are one channel of every head.
        inexact: Whether the trace left channels prunable that a normalization runs over.
    """

    reason: str
    heads: bool = True
    inexact: bool = False


class Plan(_Strict):
    """What stays of a network: everything that `apply` needs, and nothing that can run code.

    Attributes:
        version: Version of the format.
        fingerprint: Names and shapes of the dense network's parameters and buffers, in order.
        groups: The groups that lose units, by name; all others stay whole.
        slices: Indices that stay, by tensor name and dimension; touched dimensions only.
        modules: Corrected attributes, by module path and attribute name.
        costs: Costs of the dense network and of the pruned one.
        info: Where the plan comes from: criterion, seed, budget and the like.
        inputs: The example inputs of the trace, without values, as `autoprune.plan.inputs` describes them;
            None if they hold something that JSON cannot.
        form: What `apply` makes: the model's own class with smaller tensors ("class"), or the rewritten
            exported graph ("graph"), where the class's Python code cannot follow.
        exported: Of the form "graph"; None of the form "class". Neither is written to a file then.
        inexact: The groups of `groups` whose removed units change those that stay, because a normalization
            runs over them; not written to a file if there is none.
    """

    version: Literal[1] = 1
    fingerprint: dict[str, Shape]
    groups: dict[str, Kept]
    slices: dict[str, dict[NonNegativeInt, Indices]]
    modules: dict[str, dict[str, PositiveInt | tuple[PositiveInt, ...]]]
    costs: Costs
    info: dict[str, JsonValue] = Field(default_factory=dict)
    inputs: JsonValue = None
    form: Literal["class", "graph"] = "class"
    exported: Exported | None = None
    inexact: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _form_fits(self) -> "Plan":
        if (self.form == "graph") != (self.exported is not None):
            raise ValueError(
                f"exported must be given for the form 'graph' and for no other, not '{self.form}'"
            )
        if self.form == "graph" and self.modules:
            raise ValueError("modules must be empty for the form 'graph', which has no attributes")
        return self

    @model_validator(mode="after")
    def _inexact_is_pruned(self) -> "Plan":
        unknown = sorted(set(self.inexact) - set(self.groups))
        if unknown:
            raise ValueError(f"inexact names the group '{unknown[0]}', which loses no units")
        return self

    @model_validator(mode="after")
    def _slices_fit(self) -> "Plan":
        for name, dims in self.slices.items():
            if name not in self.fingerprint:
                raise ValueError(f"slices names the tensor '{name}', which the fingerprint does not hold")
            shape = self.fingerprint[name]
            for dim, indices in dims.items():
                if dim >= len(shape):
                    raise ValueError(f"slices['{name}'] names dimension {dim} of a tensor of shape {shape}")
                try:
                    _check_inside(indices, shape[dim])
                except ValueError as error:
                    raise ValueError(f"slices['{name}'][{dim}]: {error}") from None
        return self

    @property
    def widths(self) -> dict[str, int]:
        """Number of units that stay, by group name; groups that stay whole are missing."""
        return {name: len(group.keep) for name, group in self.groups.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as JSON in one step: a reader finds the old file or the whole new one.

        Raises:
            OSError: The folder cannot be written to.
        """
        write_text(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Plan":
        """Read a plan.

        Raises:
            PlanError: There is no such file, or it is truncated, damaged or of an unknown version. The
                message names the file and the first fault; the file is left as it is.
        """
        source = f"the plan file '{Path(path)}'"
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise PlanError(f"{source} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise PlanError(f"{source} is damaged: it is not UTF-8 text") from error
        return cls.from_json(text, source)

    def to_json(self) -> str:
        """The plan as JSON text, one list per line."""
        own = {"form", "exported"} if self.form == "class" else set()
        own |= {name for name in ("inputs", "inexact") if not getattr(self, name)}
        text = json.dumps(
            self.model_dump(mode="json", exclude=own), indent=1, ensure_ascii=False, allow_nan=False
        )
        # JSON strings hold no raw line breaks, so that only lists of numbers can match.
        return re.sub(r"\[\n[\s\d,]*\]", lambda match: re.sub(r"\s+", "", match[0]), text) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "the plan") -> "Plan":
        """Check JSON text and turn it into a plan.

        Args:
            text: As `to_json` makes it.
            source: What to call it in an error.

        Raises:
            PlanError: The text is not a plan; the message names the source and the first fault.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PlanError(f"{source} is truncated or damaged: {error}") from error
        if not isinstance(data, dict):
            raise PlanError(f"{source} must hold a JSON object, got {type(data).__name__}")
        if data.get("version") != VERSION or isinstance(data.get("version"), bool):
            raise PlanError(
                f"{source} has version {data.get('version')!r}, this autoprune reads version {VERSION}; "
                "use the autoprune that wrote it, or make the plan again"
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise PlanError(f"{source} is damaged at {where}: {first['msg']}") from error

    def __repr__(self) -> str:
        return format_table(self)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def _check_inside(indices: tuple[int, ...], size: int) -> None:
    if indices[-1] >= size:
        raise ValueError(f"indices must lie in 0..{size - 1}, got {indices[-1]}")


def format_table(plan: Plan) -> str:
    """The plan as a text table: groups with their widths, then costs and origin."""
    kept = [(name, len(g.keep), g.size) for name, g in plan.groups.items()]
    wide = max([len("group"), *(len(name) for name, _, _ in kept)])
    lines = [f"{'group':<{wide}}  {'stays':>6}  {'of':>6}  {'share':>6}"]
    lines += [f"{name:<{wide}}  {width:>6}  {size:>6}  {width / size:>6.1%}" for name, width, size in kept]
    lines += _cost_lines(plan.costs)
    lines += [f"{key}: {value}" for key, value in plan.info.items()]
    lines += [f"form: {describe_form(plan)}"]
    return "\n".join(lines)


def describe_form(plan: Plan) -> str:
    """What `apply` makes of the plan, and why, in one line."""
    if plan.exported is None:
        return "the model's own class"
    return f"the rewritten exported graph ({plan.exported.reason})"


def _cost_lines(costs: Costs) -> list[str]:
    lines = []
    for name, found in costs.found.items():
        dense = costs.dense.get(name)
        share = f" of {dense:,} ({found / dense:.1%})" if dense else ""
        lines.append(f"{name}: {found:,}{share}")
    return lines


def jsonable(info: Mapping[str, Any] | None) -> dict[str, Any]:
    """`info` as it comes back from a file (tuples become lists).

    Raises:
        PlanError: It holds something that JSON cannot.
    """
    try:
        result: dict[str, Any] = json.loads(json.dumps(dict(info or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PlanError(f"info must hold only what JSON can hold: {error}") from error
    return result
