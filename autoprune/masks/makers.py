"""Masks of several tensors at once, from scores of the same shapes; higher = stays."""

from collections.abc import Mapping

import torch
from torch import Tensor

from autoprune.errors import ArgumentError, MaskError
from autoprune.masks.granularity import Granularity, Units, Weight
from autoprune.masks.nm import NM
from autoprune.masks.select import check_sparsity, floating, keep_best
from autoprune.masks.store import Masks

_WEIGHT = Weight()


def layer_masks(
    scores: Mapping[str, Tensor],
    sparsity: float | Mapping[str, float] | None = None,
    granularity: Granularity = _WEIGHT,
    within: Masks | None = None,
) -> Masks:
    """Prune every tensor by its own share.

    Args:
        scores: One score per weight, by tensor name.
        sparsity: Share to prune, in 0..1: one for all tensors or one for each. Left out only for an `NM`
            pattern, which fixes it.
        granularity: What stays or goes as a whole.
        within: Earlier masks of the same granularity. What they prune ranks below all else and never comes
            back, so that the shares are those of earlier and new pruning together.

    Raises:
        ArgumentError: See `Granularity.mask`; or a share for a tensor without scores or the reverse.
        MaskError: `within` differs in shape.
    """
    shares = _shares(scores, sparsity, granularity)
    ranked = _ranked(scores, within)
    masks = {}
    for name, share in shares.items():
        if share is None:
            assert isinstance(granularity, NM)
            masks[name] = granularity.mask(ranked[name])
        else:
            masks[name] = granularity.mask(ranked[name], share)
    return _joined(masks, within)


def global_masks(
    scores: Mapping[str, Tensor],
    sparsity: float,
    granularity: Granularity = _WEIGHT,
    within: Masks | None = None,
) -> Masks:
    """Rank the units of all tensors together and prune the lowest, wherever they lie.

    `round(sparsity * units)` units go, of all tensors taken together (units, not weights, are counted, and
    ranked by their mean score). Of equal scores the first stays, by the order of `scores`, then by index.
    Nothing keeps a tensor from losing all units: floors per layer are an allocation's business.

    Args:
        scores: One score per weight, by tensor name, comparable between tensors.
        sparsity: Share of all units to prune, in 0..1.
        granularity: What stays or goes as a whole; N:M patterns cannot be ranked globally.
        within: See `layer_masks`.

    Raises:
        ArgumentError: A sparsity outside 0..1, NaN scores, or an N:M pattern.
        MaskError: `within` differs in shape.
    """
    check_sparsity(sparsity)
    if not isinstance(granularity, Units):
        raise ArgumentError(
            f"granularity must have units that a global ranking can compare, got '{granularity.name}': "
            "an N:M pattern holds in every window, use layer_masks"
        )
    if not scores:
        return Masks({})
    pooled = {name: granularity.pool(floating(s)) for name, s in _ranked(scores, within).items()}
    device = next(iter(pooled.values())).device
    flat = torch.cat([units.flatten().to(device) for units in pooled.values()])
    kept = keep_best(flat, flat.numel() - round(sparsity * flat.numel()))
    masks: dict[str, Tensor] = {}
    start = 0
    for name, units in pooled.items():
        part = kept[start : start + units.numel()].reshape(units.shape)
        masks[name] = granularity.expand(part.to(units.device), scores[name].shape)
        start += units.numel()
    return _joined(masks, within)


def _shares(
    scores: Mapping[str, Tensor], sparsity: float | Mapping[str, float] | None, granularity: Granularity
) -> dict[str, float | None]:
    """The share of every tensor, checked before any work."""
    if sparsity is None:
        if not isinstance(granularity, NM):
            raise ArgumentError(f"sparsity must be given for the granularity '{granularity.name}', got None")
        return dict.fromkeys(scores)
    if not isinstance(sparsity, Mapping):
        check_sparsity(sparsity)
        return dict.fromkeys(scores, sparsity)
    if odd := sorted(sparsity.keys() ^ scores.keys()):
        raise ArgumentError(f"sparsity and scores must name the same tensors, only one has '{odd[0]}'")
    for name, share in sparsity.items():
        check_sparsity(share, f"sparsity['{name}']")
    return {name: sparsity[name] for name in scores}


def _ranked(scores: Mapping[str, Tensor], within: Masks | None) -> dict[str, Tensor]:
    """Scores with minus infinity where `within` prunes."""
    result = dict(scores)
    for name, mask in (within or {}).items():
        if name not in result:
            continue
        if mask.shape != result[name].shape:
            raise MaskError(
                f"within['{name}'] has shape {tuple(mask.shape)} but the scores have "
                f"{tuple(result[name].shape)}: the masks belong to another network"
            )
        values = floating(result[name])
        result[name] = values.masked_fill(~mask.to(values.device), -torch.inf)
    return result


def _joined(masks: Mapping[str, Tensor], within: Masks | None) -> Masks:
    """New masks on top of the earlier ones, those of tensors that were not ranked included."""
    return Masks(masks) if within is None else Masks(masks) & within
