"""Surgery: smaller networks from what stays."""

from autoprune.surgery import known  # noqa: F401  (registers adapters)
from autoprune.surgery.apply import apply, check_plan_fits
from autoprune.surgery.attributes import Cut, allowed_attributes, register_adapter
from autoprune.surgery.changes import Changed, Surgery
from autoprune.surgery.forms import proven, proven_for
from autoprune.surgery.masking import masked, zeroed
from autoprune.surgery.slicer import Slicer
from autoprune.surgery.tensors import fingerprint, first_difference, held_tensors

__all__ = [
    "Changed",
    "Cut",
    "Slicer",
    "Surgery",
    "allowed_attributes",
    "apply",
    "check_plan_fits",
    "fingerprint",
    "first_difference",
    "held_tensors",
    "masked",
    "proven",
    "proven_for",
    "register_adapter",
    "zeroed",
]
