"""Progress and results for programs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autoprune.cli.app import app
from autoprune.cli.events import plain
from tests.cli.invoke import invoke

NET = ["--model", "user_zoo:net", "--data", "user_zoo:data"]
FEW = ["--search-images", "32", "--calibration-images", "48", "--fit-images", "32"]
SEARCH = ["search", *NET, *FEW, "--agent", "random", "-b", "macs=50%", "-n", "3", "-o", "run"]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("workplace")
def test_a_search_is_one_object_per_event_and_one_object_at_the_end() -> None:
    result = invoke(app, [*SEARCH, "--progress", "json", "--json", "--finetune-epochs", "1"])
    assert result.exit_code == 0, result.stderr
    events = lines(result.stderr)
    kinds = [event["event"] for event in events]
    assert kinds.index("start") < kinds.index("episode") < kinds.index("found") < kinds.index("done")
    assert kinds[-1] == "done" and kinds.count("episode") == 3 and kinds.count("done") == 1
    seconds = [event["seconds"] for event in events]
    assert seconds == sorted(seconds)
    episodes = [event for event in events if event["event"] == "episode"]
    assert [event["number"] for event in episodes] == [0, 1, 2]
    assert episodes[-1]["eta"] == 0 < episodes[0]["eta"]
    scores = [event["score"] for event in episodes]
    assert [event["best"]["score"] for event in episodes] == [max(scores[: i + 1]) for i in range(3)]
    assert {"macs", "params"} <= episodes[0]["costs"].keys()
    final = json.loads(result.stdout)
    assert final["episodes"] == 3 and not final["stopped"] and final["run_dir"] == "run"
    assert [row["name"] for row in final["networks"]] == ["dense", "uniform", "greedy", "found"]
    assert all(0 <= row["test_accuracy_finetuned"] <= 1 for row in final["networks"])
    assert final["found"]["costs"]["macs"] <= final["limits"]["macs"]
    assert Path(final["pruned"]).is_dir()
    again = invoke(app, ["resume", "run", "-n", "4", "--progress", "json", "--json"])
    assert json.loads(again.stdout)["episodes"] == 4
    start = next(event for event in lines(again.stderr) if event["event"] == "start")
    assert (start["done"], start["episodes"]) == (3, 4) and start["best"]["score"] == max(scores)


@pytest.mark.usefixtures("workplace")
def test_quiet_is_progress_none() -> None:
    for words in (["--quiet"], ["--progress", "none"], ["--progress", "json", "--quiet"]):
        result = invoke(app, [*SEARCH[:-1], f"run{len(words)}{words[-1]}", *words])
        assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.usefixtures("workplace")
def test_the_other_commands() -> None:
    found = invoke(
        app,
        ["sensitivity", *NET, *FEW, "--ratios", "0.5", "--groups", "conv1*", "--progress", "json"],
    )
    assert found.exit_code == 0, found.stderr
    points = [event for event in lines(found.stderr) if event["event"] == "point"]
    assert points and points[-1]["done"] == points[-1]["total"] and points[0]["group"] == "conv1.weight"
    pruned = invoke(
        app,
        ["prune", *NET, "-p", "at_init", "--method", "random", "-s", "0.5", "--epochs", "1", "-o", "pruned",
         "--progress", "json"],
    )  # fmt: skip
    assert pruned.exit_code == 0, pruned.stderr
    stages = [event["stage"] for event in lines(pruned.stderr) if event["event"] == "pipeline"]
    assert "epoch" in stages and stages[-1] == "done"
    swept = invoke(
        app,
        ["sweep", *NET, "-b", "macs=60%,macs=50%", "-n", "1", "--agent", "random", "-o", "swept",
         "--progress", "json", "--json"],
    )  # fmt: skip
    assert swept.exit_code == 0, swept.stderr
    assert [p["budget"] for p in json.loads(swept.stdout)["points"]] == ["macs=60%", "macs=50%"]
    assert [e["event"] for e in lines(swept.stderr)].count("found") == 2


@pytest.mark.usefixtures("workplace")
def test_an_error_ends_without_done() -> None:
    result = invoke(app, [*SEARCH, "--budget", "macs=0.1%", "--progress", "json"])
    assert result.exit_code == 2
    *events, error = result.stderr.splitlines()
    assert error.startswith("error: ") and "done" not in [json.loads(e)["event"] for e in events]


def test_what_json_has_no_word_for() -> None:
    import numpy as np

    given = {1: float("nan"), "p": Path("a"), "n": np.float64(2.5), "i": np.int64(3), "t": (None, True)}
    assert plain(given) == {"1": None, "p": "a", "n": 2.5, "i": 3, "t": [None, True]}


@pytest.mark.usefixtures("workplace")
def test_tensorboard_files_lie_in_the_run() -> None:
    pytest.importorskip("tensorboard")
    result = invoke(app, [*SEARCH, "--tensorboard", "-q"])
    assert result.exit_code == 0, result.stderr
    assert list(Path("run", "tensorboard").glob("events.out.tfevents.*"))


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(
    ("option", "module", "extra"),
    [(["--tensorboard"], "tensorboard", "tensorboard"), (["--mlflow", "mine"], "mlflow", "mlflow")],
)
def test_a_missing_package_is_named_before_the_work(
    option: list[str], module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = invoke(app, [*SEARCH, *option])
    assert result.exit_code == 2 and f"pip install 'autoprune[{extra}]'" in result.stderr
    assert not Path("run").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered(shell: str) -> None:
    import os

    environment = os.environ | {
        "_AUTOPRUNE_COMPLETE": f"complete_{shell}", "COMP_WORDS": "autoprune sea", "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "autoprune sea", "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "from autoprune.cli import main; main()"],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert "search" in done.stdout and "resume" not in done.stdout, done.stderr


def test_the_program_starts_without_the_heavy_libraries() -> None:
    """Completion and help answer at once."""
    heavy = "[name for name in ('torch', 'numpy', 'stable_baselines3') if name in sys.modules]"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, autoprune.cli.app; print({heavy})"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]", done.stderr
