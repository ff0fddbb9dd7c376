"""Pooling and resizing: each channel by itself, over the last dimensions."""

from dataclasses import replace
from typing import Any

from autoprune.graph.call import Call
from autoprune.graph.channels import lock_along, spatial_dims
from autoprune.graph.merge import merge
from autoprune.graph.registry import aten, rule
from autoprune.graph.tracer import Tracer
from autoprune.graph.values import Label, Value

_POOLS = aten(
    """
    max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices
    avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
    """
)
_RESIZERS = aten(
    """
    upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
    _upsample_nearest_exact2d _upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d
    upsample_trilinear3d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
    """
)


@rule(*_POOLS, *_RESIZERS)
def pool(tracer: Tracer, call: Call) -> Any:
    """Batch and channels pass, the spatial dimensions are locked; zeros stay zeros.

    Exact because every channel is pooled or resized by itself.
    """
    x = call.input
    spatial = range(x.ndim - spatial_dims(call.name), x.ndim)
    labels = lock_along(tracer, x, spatial, f"{call.name} runs over this dimension")
    result = call.result
    if isinstance(result, Value):
        return replace(result, labels=labels)
    return type(result)(replace(r, labels=labels) for r in result)


@rule("aten::max_unpool2d", "aten::max_unpool3d")
def unpool(tracer: Tracer, call: Call) -> Value:
    """Numbers go back to the places that a pooling noted, channel by channel; all other places are zero.

    Exact because the places of a channel do not depend on other channels.
    """
    x, places = call.values
    entries = merge(tracer, [x, places], x.shape)
    spatial = range(x.ndim - spatial_dims(call.name), x.ndim)
    merged = replace(x, labels=tuple(Label(e.ids, e.zeros.get(0, False)) for e in entries))
    return replace(
        call.output, labels=lock_along(tracer, merged, spatial, f"{call.name} runs over this dimension")
    )


@rule("aten::grid_sampler", "aten::grid_sampler_2d", "aten::grid_sampler_3d")
def grid_sample(tracer: Tracer, call: Call) -> Value:
    """Samples every channel at the same places.

    Exact because no channel sees another.
    """
    x, grid = call.values[:2]
    tracer.lock(grid, "places of a grid sample")
    labels = lock_along(tracer, x, range(2, x.ndim), f"{call.name} runs over this dimension")
    return replace(call.output, labels=labels)
