"""The call that makes a run again."""

import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoprune.run.config import RunConfig

CUSTOM = "custom:"
BASELINES = ("uniform", "greedy")


def command(config: "RunConfig") -> str:
    """The command line that makes the run again, or the Python call where the command line cannot.

    Every setting is spelled out, so that a later version with other defaults does the same.
    """
    settings = config.settings
    sources = (config.model.source, config.data.source)
    parts = (settings.agent, settings.criterion, settings.reward)
    plain = not settings.agent_settings and tuple(settings.baselines) == BASELINES
    if None in sources or not plain or any(part.startswith(CUSTOM) for part in parts):
        return _call(config)
    words = ["autoprune", "search", "--model", str(sources[0]), "--data", str(sources[1])]
    for name, value in settings.model_dump(exclude={"agent_settings", "baselines"}).items():
        for item in value if isinstance(value, tuple) else (value,):
            words += [] if item is None else [f"--{name.replace('_', '-')}", str(item)]
    storage = config.study.storage
    words += [] if storage is None else ["--storage", storage]
    return _folded(words)


def _folded(words: list[str]) -> str:
    """One option per line."""
    head, rest = words[:2], words[2:]
    pairs = [f"{name} {shlex.quote(value)}" for name, value in zip(rest[::2], rest[1::2], strict=True)]
    return " \\\n    ".join([" ".join(head), *pairs])


def _call(config: "RunConfig") -> str:
    settings: dict[str, Any] = config.settings.model_dump()
    lines = ["autoprune.search(", "    model, example_inputs, data,", f"    {settings.pop('budget')!r},"]
    for name, value in settings.items():
        empty = value is None or (name != "baselines" and value in ((), {}))
        if not empty:
            custom = isinstance(value, str) and value.startswith(CUSTOM)
            lines.append(f"    {name}={value.removeprefix(CUSTOM) if custom else repr(value)},")
    return "\n".join([*lines, ")"])
