"""The pruning graph: which channels go together, and what each candidate costs."""

from autoprune.graph.call import Call
from autoprune.graph.flops import counted_macs
from autoprune.graph.registry import register_rule
from autoprune.graph.rewrite import Traced, rewrite
from autoprune.graph.rules.elementwise import pointwise
from autoprune.graph.trace import trace, trace_program
from autoprune.graph.tracer import Settings, Tracer
from autoprune.graph.types import Axis, Extent, Group, Layer, Member, PruneGraph, Term
from autoprune.graph.values import Label, Value

__all__ = [
    "Axis",
    "Call",
    "Extent",
    "Group",
    "Label",
    "Layer",
    "Member",
    "PruneGraph",
    "Settings",
    "Term",
    "Traced",
    "Tracer",
    "Value",
    "counted_macs",
    "pointwise",
    "register_rule",
    "rewrite",
    "trace",
    "trace_program",
]
