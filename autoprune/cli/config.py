"""`--config FILE` on every command: its options from a file; what the command line says wins."""

import types
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from autoprune.errors import ArgumentError

HELP = "Take options from a TOML or YAML file, or from a run's config.json (`search`); the command line wins."
KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list of texts",
}
"""What a value of a type is called in a message."""


def add_config(commands: Iterable[Any]) -> None:
    """Give the option to every command that has options, in groups of commands too.

    It fills the command's `default_map`: click takes the values as if they were the defaults, so that the
    command line and environment variables go before them.

    Args:
        commands: Of click; changed in place.
    """
    for command in commands:
        if hasattr(command, "commands"):
            add_config(command.commands.values())
        elif any(name.startswith("--") for p in command.params for name in p.opts):
            command.params.append(_option())


def _option() -> Any:
    """A parsed option; typer makes one from a function alone."""
    probe = typer.Typer(add_completion=False)

    @probe.command()
    def _(
        config: Annotated[
            Path | None,
            typer.Option(
                "--config", metavar="FILE", help=HELP, is_eager=True, callback=_fill, expose_value=False
            ),
        ] = None,
    ) -> None:
        del config

    made: Any = typer.main.get_command(probe)
    return made.params[0]


def _fill(ctx: typer.Context, config: Path | None) -> None:
    if config is not None and not ctx.resilient_parsing:
        ctx.default_map = {
            **(ctx.default_map or {}),
            **_checked(read(config, ctx.command.name or ""), ctx, config),
        }


def read(path: Path, command: str) -> Mapping[str, Any]:
    """The options that a file holds, by name.

    Args:
        path: TOML (.toml), YAML (.yaml, .yml), the config.json of a run, or the folder of a run.
        command: Which command they are for.

    Raises:
        ArgumentError: The file cannot be read, does not parse, or has another suffix.
        RunError: The config.json of a run is damaged.
    """
    path = path / "config.json" if path.is_dir() else path
    if path.suffix == ".json":
        return _of_run(path, command)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ArgumentError(f"--config {path}: the file cannot be read: {reason}") from error
    if path.suffix == ".toml":
        return _toml(text, path)
    if path.suffix in (".yaml", ".yml"):
        return _yaml(text, path)
    raise ArgumentError(f"--config must end with .toml, .yaml, .yml or be a run's config.json, got '{path}'")


def _toml(text: str, path: Path) -> Mapping[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ArgumentError(f"--config {path} is not TOML: {error}") from error


def _yaml(text: str, path: Path) -> Mapping[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise ArgumentError(
            f"--config {path}: YAML needs PyYAML: pip install 'autoprune[yaml]', or write TOML"
        ) from error
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ArgumentError(f"--config {path} is not YAML: {error}") from error
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ArgumentError(f"--config {path} must hold lines `option: value`, got {type(found).__name__}")
    return found


def _of_run(path: Path, command: str) -> Mapping[str, Any]:
    """The options that make a run again."""
    from autoprune.report.command import options
    from autoprune.run.directory import RunDirectory

    if command != "search" or path.name != "config.json":
        raise ArgumentError(f"--config {path}: the config.json of a run belongs to `search`; else use TOML")
    found = options(RunDirectory(path.parent).read_config(), path.parent)
    if found is None:
        raise ArgumentError(
            f"--config {path}: the run was started from Python with what the command line cannot say; its "
            "report shows the call"
        )
    return found


def _checked(given: Mapping[str, Any], ctx: typer.Context, path: Path) -> dict[str, Any]:
    """The values by the names that click knows.

    Raises:
        ArgumentError: An unknown option, or a value of another type.
    """
    from autoprune.budget.messages import did_you_mean

    parameters = {_name(p): p.name for p in ctx.command.params if p.name not in ("config", "help")}
    hints = get_type_hints(ctx.command.callback)
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = key.replace("_", "-")
        if name not in parameters:
            raise ArgumentError(
                f"--config {path}: `{ctx.info_name}` has no option '{key}'{did_you_mean(name, parameters)}"
            )
        kind = _kind(hints[str(parameters[name])])
        value = [value] if kind is list and isinstance(value, str) else value
        if not _fits(value, kind):
            raise ArgumentError(f"--config {path}: '{key}' must be {KINDS[kind]}, got {value!r}")
        found[str(parameters[name])] = str(value) if kind is str else value
    return found


def _name(parameter: Any) -> str:
    """As it is written on the command line, without dashes in front."""
    longest: str = max(parameter.opts, key=len)
    return longest.lstrip("-").replace("_", "-")


def _kind(hint: Any) -> Any:
    """The plain type that a file holds for a parameter of this type."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    if get_origin(hint) is list:
        return list
    return str if issubclass(hint, Path | Enum) else hint


def _fits(value: Any, kind: Any) -> bool:
    if kind is list:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind is str:  # some options take a number or a word
        return type(value) in (str, int, float)
    return type(value) is kind or (kind is float and type(value) is int)
