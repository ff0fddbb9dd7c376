"""Example inputs from `--input-shape` or from the data."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autoprune.errors import ArgumentError

if TYPE_CHECKING:
    from torch import Tensor


def parse_shape(text: str) -> tuple[int, ...]:
    """A shape such as "1,3,32,32" or "1x3x32x32".

    Raises:
        ArgumentError: Not a list of positive whole numbers.
    """
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ArgumentError(
            f"--input-shape must be positive whole numbers like 1,3,32,32 (batch first), got '{text}'"
        )
    return tuple(int(part) for part in parts)


def example_inputs(shapes: Sequence[str], data: Any | None) -> Any:
    """Example inputs with a batch of one: zeros of the given shapes, or the first image of `data.train`.

    Args:
        shapes: One text per input of the network; wins over `data`.
        data: An object with the attribute `train`, or None.

    Raises:
        ArgumentError: Neither is given, or a shape does not parse.
        DataError: The loader is empty, or its batch has no known form.
    """
    import torch

    if shapes:
        tensors: list[Tensor] = [torch.zeros(parse_shape(text)) for text in shapes]
        return tensors[0] if len(tensors) == 1 else tuple(tensors)
    if data is None:
        raise ArgumentError(
            "give --input-shape (for example 1,3,32,32) or --data MODULE:CALLABLE to take an input from"
        )
    from autoprune.data import FirstImages

    return next(iter(FirstImages(data.train, 1, seed=0, name="data.train"))).inputs


def load_data(text: str) -> Any:
    """The splits that `--data` names.

    Raises:
        ArgumentError: As in `locate.call`, or the result lacks `train` or `search_val`.
    """
    from autoprune.locate import call

    data = call(text, "--data")
    missing = [name for name in ("train", "search_val") if not hasattr(data, name)]
    if missing:
        raise ArgumentError(
            f"--data {text} must give loaders named train, search_val and, optionally, test "
            f"(autoprune.DataSplits, or any object with these attributes), got {type(data).__name__} "
            f"without {' and '.join(missing)}"
        )
    return data
