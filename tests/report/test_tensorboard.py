import importlib.util
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import ArgumentError
from autoprune.report.tensorboard import TensorBoard
from tests.api.runs import resume, search


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.iterdir()):
        events: Any = EventAccumulator(str(path)).Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend((e.step, e.value) for e in events.Scalars(tag))
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_episode_is_a_step(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    folder = tmp_path / "board"
    search(tmp_path / "run", episodes=3, callbacks=[TensorBoard(folder)])
    result = resume(tmp_path / "run", episodes=5, callbacks=[TensorBoard(folder)])
    found = read(folder)
    steps = [(e.number, pytest.approx(e.evaluation.score)) for e in result.history]
    assert sorted(found["search/score"]) == steps
    share = [e.costs["macs"] / result.dense.costs["macs"] for e in result.history]
    assert [value for _, value in sorted(found["cost/macs"])] == pytest.approx(share)
    widths = [e.widths["conv1.weight"] for e in result.history]
    assert [value for _, value in sorted(found["width/conv1.weight"])] == widths
    assert found["found/score"][-1] == (result.best.number, pytest.approx(result.found.evaluation.score))


def test_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match=r"pip install 'autoprune\[tensorboard\]'"):
        TensorBoard(tmp_path)
