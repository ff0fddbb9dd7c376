"""The times of layers that a run keeps: a wrong digit is noticed, and the copy used."""

from pathlib import Path
from typing import Any

import pytest

import autoprune
from autoprune.errors import RunError
from autoprune.latency import LatencyTable
from tests.api.problem import data, network
from tests.latency.test_search import search, table, timing

__all__ = ["table"]  # a fixture


def other_digit(path: Path) -> bytes:
    """Damage that leaves valid JSON and plausible times."""
    whole = path.read_bytes()
    place = max(i for i, sign in enumerate(whole) if chr(sign) in "2345678")
    changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    path.write_bytes(changed)
    return whole


@pytest.mark.parametrize("name", ["latency_table.json", "latency.json"])
def test_damaged_times_are_noticed(
    name: str, table: LatencyTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    timing(monkeypatch, [(2.0, 1.0)])
    run_dir, path = tmp_path / "run", tmp_path / "run" / name
    first = search("latency=90%", latency_table=table, run_dir=run_dir, episodes=2)
    whole = other_digit(path)

    def again() -> Any:
        return autoprune.resume(run_dir, model=network(), data=data())

    result = again()
    assert result.limits == first.limits and result.found.costs == first.found.costs
    assert f"{path}' is damaged" in caplog.text
    assert path.read_bytes() == whole
    other_digit(path)
    other_digit(run_dir / "spare" / name)
    with pytest.raises(RunError, match=f"{name}' is damaged"):
        again()
