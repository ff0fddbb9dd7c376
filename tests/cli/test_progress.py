"""The bars, drawn on terminals of two widths."""

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from autoprune.cli.bar import Bar
from autoprune.cli.layer_progress import LayerProgress
from autoprune.cli.point_progress import PointProgress
from autoprune.cli.progress import SearchProgress
from autoprune.cli.prune_progress import PruneProgress
from autoprune.pipelines import Progress
from autoprune.run.callbacks import SearchStart

START = SearchStart(300, 0, {"macs": 100.0, "params": 10.0}, {"macs": 50.0, "params": 6.0}, 9)


def episode(number: int) -> Any:
    evaluation = SimpleNamespace(score=-0.1234)
    return SimpleNamespace(number=number, evaluation=evaluation, costs={"macs": 50.0, "params": 5.5})


def line(bar: Bar) -> str:
    """The line that stands on the terminal now."""
    stream = bar._bar.console.file
    assert isinstance(stream, io.StringIO)
    stream.truncate(0), stream.seek(0)
    bar._bar.refresh()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    return text.replace("\r", "").strip("\n")


def console(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)


@pytest.mark.parametrize("width", [80, 140])
def test_a_search_and_its_comparison(width: int) -> None:
    with SearchProgress(console(width)) as bar:
        bar.on_stage("calibrate")
        assert "calibrating" in line(bar) and "?" not in line(bar) and "left" not in line(bar)
        bar.on_step(0, 2000)
        bar.on_step(500, 2000)
        assert "calibrating" in line(bar) and "500/2000" in line(bar)
        bar.on_stage("search")
        bar.on_start(START)
        for number in range(99):
            bar.on_episode(episode(number), episode(0))
        shown = line(bar)
        assert "99/300" in shown and "best -0.1234" in shown and "\n" not in shown and "…" not in shown
        assert re.search(r"left [\d:]+$", shown.rstrip())
        assert ("macs 50.0%, params 55.0%" in shown) == (width == 140)
        bar.on_stage("refit")
        assert "99/300" not in line(bar) and "re-fitting" in line(bar)
        bar.on_step(0, 8)
        bar.on_stage("fine-tuning dense")
        bar.on_step(2, 8)
        bar.on_stage("fine-tuning uniform")
        bar.on_step(3, 8)
        assert "fine-tuning uniform" in line(bar) and "3/8" in line(bar) and "left" in line(bar)
        bar.on_stage("done")
        assert "done" in line(bar) and "99/99" in line(bar) and "best" in line(bar)


def test_a_profile_and_a_sensitivity_analysis() -> None:
    with LayerProgress(console(140)) as bar:
        bar.on_layer("conv [3, 3]", 0, 3)
        bar.on_layer("linear", 2, 3)
        assert "2/3 linear" in line(bar) and "left" in line(bar)
    point = SimpleNamespace(group="conv.weight", ratio=0.5, kl=0.25, accuracy=None)
    with PointProgress(console(140)) as points:
        points.on_stage("measure")
        points.on_point(point, 1, 4)  # type: ignore[arg-type]
        points.on_point(point, 2, 4)  # type: ignore[arg-type]
        assert "2/4 conv.weight -50%: KL 0.250" in line(points)


def test_a_pipeline_counts_the_epochs_of_its_round() -> None:
    with PruneProgress(console(80)) as bar:
        bar(Progress("prune", 1, 2, 0, 5, {"sparsity": 0.5}))
        bar(Progress("epoch", 1, 2, 2, 5, {"sparsity": 0.5}))
        assert "round 1 of 2: training" in line(bar) and "2/5 sparsity 50.00%" in line(bar)
        bar(Progress("epoch", 2, 2, 1, 5))
        assert "round 2 of 2" in line(bar) and "1/5" in line(bar)
        bar(Progress("done", 2, 2))
        assert "done" in line(bar) and "/" not in line(bar)


def test_quiet_draws_nothing() -> None:
    terminal = console(80)
    with SearchProgress(terminal, quiet=True) as bar:
        bar.on_stage("calibrate")
    assert isinstance(terminal.file, io.StringIO) and terminal.file.getvalue() == ""
