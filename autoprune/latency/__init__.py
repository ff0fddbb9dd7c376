"""Latency of candidates: layers measured on the target, kept in a table, summed for any widths."""

from autoprune.latency.backends import BACKENDS
from autoprune.latency.cost import LatencyCost
from autoprune.latency.network import Timed, anchored, best_step, candidate, time_networks
from autoprune.latency.profile import Requests, complete, measure, profile, requests_of
from autoprune.latency.rounding import channel_multiples
from autoprune.latency.segments import Segment, segments_of
from autoprune.latency.table import LatencyTable
from autoprune.latency.target import Target
from autoprune.latency.template import Template

__all__ = [
    "BACKENDS",
    "LatencyCost",
    "LatencyTable",
    "Requests",
    "Segment",
    "Target",
    "Template",
    "Timed",
    "anchored",
    "best_step",
    "candidate",
    "channel_multiples",
    "complete",
    "measure",
    "profile",
    "requests_of",
    "segments_of",
    "time_networks",
]
