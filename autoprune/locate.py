"""MODULE:CALLABLE to what it names."""

import importlib
import os
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from autoprune.errors import ArgumentError

if TYPE_CHECKING:
    from torch import nn


def locate(text: str, option: str) -> Any:
    """The object that `text` names, looked up as Python would from the current folder.

    Args:
        text: "package.module:name", or "package.module:name.attribute".
        option: The option that it was given to, for messages.

    Raises:
        ArgumentError: No such form, module or name; or the module itself fails while it is imported.
    """
    module_name, separator, path = text.partition(":")
    if not separator or not module_name or not path:
        raise ArgumentError(
            f"{option} must have the form MODULE:CALLABLE, for example models:resnet20, got '{text}'"
        )
    target = _module(module_name, option)
    for name in path.split("."):
        if not hasattr(target, name):
            raise ArgumentError(_missing(target, name, text, option))
        target = getattr(target, name)
    return target


def _module(name: str, option: str) -> Any:
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ArgumentError(
                f"{option}: no module '{name}' in the current folder ({folder}), on PYTHONPATH or installed"
            ) from error
        raise ArgumentError(
            f"{option}: module '{name}' needs '{error.name}', which is not installed"
        ) from error
    except Exception as error:
        raise ArgumentError(
            f"{option}: importing module '{name}' raised {type(error).__name__}: {error}"
        ) from error


def _missing(target: Any, name: str, text: str, option: str) -> str:
    public = [n for n in dir(target) if not n.startswith("_")]
    near = get_close_matches(name, public, n=1)
    own = [
        n
        for n in public
        if getattr(getattr(target, n), "__module__", "") == getattr(target, "__name__", None)
    ]
    hint = f"; did you mean '{near[0]}'?" if near else f"; it has {', '.join(own[:10])}" if own else ""
    return f"{option} '{text}': there is no '{name}'{hint}"


def call(text: str, option: str) -> Any:
    """What the located callable returns when it is called without arguments (or the object, if not callable).

    Raises:
        ArgumentError: As in `locate`, or the call itself raises.
    """
    target = locate(text, option)
    if not callable(target):
        return target
    try:
        return target()
    except Exception as error:
        raise ArgumentError(f"{option}: calling {text}() raised {type(error).__name__}: {error}") from error


def load_model(text: str) -> "nn.Module":
    """The network that `--model` names.

    Raises:
        ArgumentError: As in `call`, or the result is not a `torch.nn.Module`.
    """
    from torch import nn

    target = locate(text, "--model")
    found = target if isinstance(target, nn.Module) else call(text, "--model")
    if not isinstance(found, nn.Module):
        raise ArgumentError(f"--model {text} must give a torch.nn.Module, got {type(found).__name__}")
    return found
