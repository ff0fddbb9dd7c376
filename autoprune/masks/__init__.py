"""Masks: which weights of a network stay. Make them, apply them, hold them through training, store them.

Example:
    >>> scores = {"conv.weight": model.conv.weight.abs()}
    >>> masks = layer_masks(scores, 0.5, granularity("kernel"))
    >>> with masks.enforce(model, optimizer):
    ...     train(model, optimizer)
"""

from autoprune.masks.applied import AppliedMasks
from autoprune.masks.block import Block
from autoprune.masks.channels import channel_masks
from autoprune.masks.enforcement import Enforcement
from autoprune.masks.granularity import Channel, Column, Filter, Granularity, Kernel, Row, Units, Weight
from autoprune.masks.makers import global_masks, layer_masks
from autoprune.masks.nm import NM, WindowedNM, follows
from autoprune.masks.registry import GRANULARITIES, granularity
from autoprune.masks.semi_structured import SemiStructuredReport, to_semi_structured
from autoprune.masks.store import Masks
from autoprune.masks.torch_prune import from_torch_prune, strip_torch_prune, to_torch_prune

__all__ = [
    "GRANULARITIES",
    "NM",
    "AppliedMasks",
    "Block",
    "Channel",
    "Column",
    "Enforcement",
    "Filter",
    "Granularity",
    "Kernel",
    "Masks",
    "Row",
    "SemiStructuredReport",
    "Units",
    "Weight",
    "WindowedNM",
    "channel_masks",
    "follows",
    "from_torch_prune",
    "global_masks",
    "granularity",
    "layer_masks",
    "strip_torch_prune",
    "to_semi_structured",
    "to_torch_prune",
]
