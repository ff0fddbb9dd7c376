"""What makes a run again: options of the command line, the command itself, or the Python call."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoprune.run.config import RunConfig

CUSTOM = "custom:"
BASELINES = ("uniform", "greedy")


def options(config: "RunConfig", folder: Path | None = None) -> dict[str, Any] | None:
    """The options of `autoprune search` that make the run again, by name.

    Every setting is spelled out, so that a later version with other defaults does the same.

    Args:
        config: Of the run.
        folder: Of the run: where its latency table, the policy that it began with and its example input lie.

    Returns:
        Plain values, a list for an option that may be repeated; None if the command line cannot say it.
    """
    settings = config.settings
    sources = (config.model.source, config.data.source)
    parts = (settings.agent, settings.criterion, settings.reward)
    plain = not settings.agent_settings and tuple(settings.baselines) == BASELINES
    if None in sources or not plain or any(part.startswith(CUSTOM) for part in parts):
        return None
    found: dict[str, Any] = {"model": sources[0], "data": sources[1]}
    found |= settings.model_dump(exclude={"agent_settings", "baselines", "init_policy"})
    found |= {"storage": config.study.storage} | ({} if folder is None else _files(folder))
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
    return {name.replace("_", "-"): value for name, value in lists.items() if value not in (None, [])}


def command(config: "RunConfig", folder: Path | None = None) -> str:
    """The command line that makes the run again, or the Python call where the command line cannot.

    Args:
        config: Of the run.
        folder: As for `options`.
    """
    given = options(config, folder)
    if given is None:
        return _call(config)
    words = [
        _option(name, item)
        for name, value in given.items()
        for item in (value if isinstance(value, list) else (value,))
    ]
    return " \\\n    ".join(["autoprune search", *words])


def _files(folder: Path) -> dict[str, Any]:
    """What a run keeps of its arguments in files of their own."""
    from autoprune.run.device import TABLE_NAME
    from autoprune.run.transfer import INIT_NAME

    names = {"latency_table": TABLE_NAME, "init_policy": INIT_NAME}
    found: dict[str, Any] = {
        name: str(folder / file) for name, file in names.items() if (folder / file).exists()
    }
    return found | {"input_shape": _shapes(folder)}


def _shapes(folder: Path) -> list[str] | None:
    """`--input-shape` of a run: it makes zeros, while an input from the data is hardly ever that."""
    from torch import Tensor

    from autoprune.run.directory import INPUTS_NAME
    from autoprune.run.inputs import read_inputs

    if not (folder / INPUTS_NAME).is_file():
        return None
    inputs = read_inputs(folder / INPUTS_NAME)
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    if not all(isinstance(item, Tensor) and not item.any() for item in given):
        return None
    return [",".join(map(str, item.shape)) for item in given]


def _option(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {shlex.quote(str(value))}"


def _call(config: "RunConfig") -> str:
    settings: dict[str, Any] = config.settings.model_dump()
    lines = [
        "autoprune.search(",
        "    model, example_inputs, data,  # as they were given",
        f"    {settings.pop('budget')!r},",
    ]
    for name, value in settings.items():
        empty = value is None or (name != "baselines" and value in ((), {}))
        if not empty:
            custom = isinstance(value, str) and value.startswith(CUSTOM)
            lines.append(f"    {name}={value.removeprefix(CUSTOM) if custom else repr(value)},")
    return "\n".join([*lines, ")"])
