"""What the tracer knows of a tensor: its shape and which ids run along which of its dimensions."""

from dataclasses import dataclass

import torch

from autoprune.graph.unionfind import Ids


@dataclass(frozen=True, eq=False)
class Label:
    """One labeled axis of a value: removing an id removes the positions that carry it.

    Attributes:
        ids: One dimension per dimension of the value; size 1 where the ids do not vary. It varies along one
            dimension, or along several after a view split a dimension and nothing has yet decided which of
            the parts the units are.
        zero: Whether the value is zero at the positions of removed units, once all members of these units
            are zeroed (then summing over the dimension is exact).
    """

    ids: Ids
    zero: bool

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions along which the ids vary."""
        return tuple(d for d, size in enumerate(self.ids.shape) if size > 1)


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the exported graph.

    Attributes:
        shape: Its dense shape.
        labels: Its labeled axes; a dimension that none of them varies along is never pruned.
        parameter: Name of the parameter or buffer that the value is, untouched; else empty.
        dtype: Its element type.
        origin: Where an unlabeled tensor comes from, for the reasons that users read.
    """

    shape: tuple[int, ...]
    labels: tuple[Label, ...] = ()
    parameter: str = ""
    dtype: torch.dtype = torch.float32
    origin: str = ""

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def along(self, dim: int) -> tuple[Label, ...]:
        """The labels that vary along `dim`."""
        return tuple(label for label in self.labels if label.ids.shape[dim] > 1)
