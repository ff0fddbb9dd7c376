"""Loaded by the server that processes are forked from: one search, so that none of them pays for it."""

from tests.api.runs import search
from tests.faults.jobs import QUICK

search(None, **QUICK | {"episodes": 2})
