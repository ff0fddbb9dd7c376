"""Modules whose forward cuts channels at numbers that it keeps as attributes, which a surgery corrects."""

from typing import Literal, TypeAlias

from autoprune.graph.call import Call

Cuts: TypeAlias = Literal["free", "equal"]

_KNOWN: dict[str, Cuts] = {
    # Adapters for these are in `autoprune.surgery.known`.
    "timm.layers.mixed_conv2d.MixedConv2d": "free",
    "timm.models.dpn.DualPathBlock": "free",
    "timm.models.res2net.Bottle2neck": "equal",
}


def register_cuts(name: str, cuts: Cuts) -> None:
    """Say how the forward of the class of this full name cuts channels; see `register_adapter`."""
    _KNOWN[name] = cuts


def known_cuts(call: Call) -> Cuts | None:
    """How the module whose forward makes this call follows what is cut; None if that is not known."""
    stack = list((call.node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return None
    owner = stack[-1][1]
    classes = owner.__mro__ if isinstance(owner, type) else (owner,)
    names = (c if isinstance(c, str) else f"{c.__module__}.{c.__qualname__}" for c in classes)
    return next((_KNOWN[name] for name in names if name in _KNOWN), None)
