"""One process owns a run directory, from its first moment to its last."""

import signal
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import RunError
from tests.api.runs import resume, search
from tests.faults import jobs
from tests.faults.processes import started
from tests.faults.test_kills import without_faults

SETTINGS: dict[str, Any] = {"episodes": 4}


def test_a_second_process_is_refused_at_every_stage(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with started(jobs.telling, path, SETTINGS) as first:
        for stage, begun in (("trace", False), (1, True), ("save", True)):
            while (heard := first.heard()) != stage:
                assert heard is not None
            first.send(signal.SIGSTOP)
            before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
            with pytest.raises(
                RunError, match="already holds a run" if begun else "in use by another search"
            ):
                search(path, **jobs.QUICK | SETTINGS)
            with pytest.raises(RunError, match="in use by another search" if begun else "holds no run"):
                resume(path)
            assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
            first.send(signal.SIGCONT)
        while first.heard() != "done":
            pass
        assert first.heard() == without_faults(SETTINGS)
        assert first.wait() == 0
