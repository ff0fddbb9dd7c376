"""Adapters for attention modules of other libraries, by the names of their classes; nothing is imported.

Only classes whose forward reads the number of heads from an attribute, and no width from elsewhere, are named
here. What a class of another version does is found out by running it, as always.
"""

from collections.abc import Mapping

from autoprune.surgery.attributes import Cut, register_adapter
from autoprune.surgery.slicer import Value


@register_adapter(
    "timm.layers.attention.Attention",
    "timm.layers.attention.AttentionRope",
    "timm.models.swin_transformer.WindowAttention",
    attributes=("num_heads", "num_kv_heads", "attn_dim", "kv_dim"),
)
def _heads(cut: Cut) -> Mapping[str, Value]:
    """Whole heads of the dense width; of grouped queries, whole groups."""
    if "proj.weight" not in cut.before:
        return {}  # computed from other tensors, or of another version
    before, after = cut.before["proj.weight"][1], cut.after["proj.weight"][1]
    counts = {name: int(getattr(cut.module, name, 0)) for name in ("num_heads", "num_kv_heads", "kv_dim")}
    if any(count * after % before for count in counts.values()):
        return {}  # not whole heads
    return {name: count * after // before for name, count in counts.items()} | {"attn_dim": after}
