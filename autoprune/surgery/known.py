"""Adapters for modules of other libraries, by the names of their classes; nothing is imported.

Only classes whose forward reads the number of heads, or where it cuts, from attributes, and no width from
elsewhere, are named here. What a class of another version does is found out by running it, as always.
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


@register_adapter("timm.layers.mixed_conv2d.MixedConv2d", attributes=("splits",), cuts="free")
def _mixed_convolution(cut: Cut) -> Mapping[str, Value]:
    """A part for each convolution, as wide as its inputs: its own channels where it is depthwise."""
    sizes = []
    for number in range(len(getattr(cut.module, "splits", ()))):
        weight = f"{number}.weight"
        if weight not in cut.before:
            return {}  # of another version
        depthwise = getattr(cut.module.get_submodule(str(number)), "groups", 1) > 1
        sizes.append(cut.after[weight][0 if depthwise else 1])
    return {"splits": tuple(sizes)}


@register_adapter("timm.models.res2net.Bottle2neck", attributes=("width",), cuts="equal")
def _parts_of_res2net(cut: Cut) -> Mapping[str, Value]:
    """As many equal parts as before."""
    if "conv1.weight" not in cut.before:
        return {}  # of another version
    return {"width": cut.after["conv1.weight"][0] // int(getattr(cut.module, "scale", 1))}


@register_adapter("timm.models.dpn.DualPathBlock", attributes=("num_1x1_c",), cuts="free")
def _residual_path(cut: Cut) -> Mapping[str, Value]:
    """The first channels of the last convolution, which are added to the residual path."""
    if "c1x1_c1.weight" in cut.after:
        return {"num_1x1_c": cut.after["c1x1_c1.weight"][0]}
    if "c1x1_c.conv.weight" not in cut.after:
        return {}  # of another version
    size = cut.before["c1x1_c.conv.weight"][0]
    stays = cut.stays.get(("c1x1_c.conv.weight", 0), range(size))
    return {"num_1x1_c": sum(int(i) < int(getattr(cut.module, "num_1x1_c", 0)) for i in stays)}
