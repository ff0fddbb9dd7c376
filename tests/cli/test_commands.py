"""The commands on a small network of the user's own."""

import inspect
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import autoprune
from autoprune.cli.app import app
from autoprune.cli.search import search as search_command
from autoprune.locate import load_model
from tests.cli.invoke import invoke

NET = ["--model", "user_zoo:net"]
DATA = ["--data", "user_zoo:data"]
SMALL = ["--search-images", "32", "--calibration-images", "48", "--fit-images", "32", "--agent", "random"]
COMMANDS = ["search", "resume", "inspect", "apply", "criteria", "sensitivity", "prune", "report", "demo"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"Example: autoprune {command}" in " ".join(result.stdout.split())


def test_version() -> None:
    assert invoke(app, ["--version"]).stdout == f"autoprune {autoprune.__version__}\n"


def test_the_defaults_are_those_of_the_library() -> None:
    def defaults(function: Any) -> dict[str, Any]:
        return {name: p.default for name, p in inspect.signature(function).parameters.items()}

    library, command = defaults(autoprune.search), defaults(search_command)
    shared = library.keys() & command.keys() - {"model", "data", "budget"}
    assert len(shared) > 8
    # a text where the command line takes a number or a word
    assert {name: str(command[name]) for name in shared} == {name: str(library[name]) for name in shared}


def test_the_help_names_every_agent() -> None:
    from autoprune.agents.registry import AGENTS

    words = invoke(app, ["search", "--help"]).stdout.replace(",", " ").replace(".", " ").split()
    assert set(AGENTS) <= set(words)


@pytest.mark.usefixtures("workplace")
class TestInspect:
    def test_lists_groups_with_their_shares_and_reasons(self) -> None:
        result = invoke(app, ["inspect", *NET, "--input-shape", "1,1,6,6"])
        assert result.exit_code == 0, result.stderr
        lines = {line.split()[1]: line for line in result.stdout.splitlines() if line.startswith("│")}
        assert "prunable" in lines["conv1.weight"]
        assert "locked: output of the model" in lines["linear.weight"]
        macs = {"conv1": 36 * 9 * 8, "conv2": 36 * 9 * 8 * 12, "linear": 12 * 4}
        share = 100 * (macs["conv1"] + macs["conv2"]) / sum(macs.values())
        assert f"{share:.1f}%" in lines["conv1.weight"]
        assert f"{100 * macs['linear'] / sum(macs.values()):.1f}%" in lines["linear.weight"]
        assert f"{sum(macs.values()):,} MACs" in result.stdout

    def test_takes_the_input_from_the_data_and_may_leave_locked_groups_out(self) -> None:
        result = invoke(app, ["inspect", *NET, *DATA, "--prunable"])
        assert result.exit_code == 0, result.stderr
        assert "conv1.weight" in result.stdout
        assert "linear.weight" not in result.stdout


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["inspect", *NET], ["--input-shape", "--data"]),
        (["inspect", *NET, "--input-shape", "1,x"], ["--input-shape", "1,x"]),
        (["inspect", *NET, "--input-shape", "1,5,6,6"], ["1, 5, 6, 6"]),
        (["inspect", "--model", "user_zoo:nett", "--input-shape", "1,1,6,6"], ["did you mean 'net'"]),
        (["search", *NET, *DATA, "--budget", "half"], ["half", "allowed"]),
        (["search", *NET, *DATA, "--budget", "macs=0%"], ["macs"]),
        (["search", *NET, *DATA, "--budget", "macs=0.1%"], ["smallest"]),
        (["search", *NET, "--data", "user_zoo:number", "--budget", "macs=50%"], ["train", "search_val"]),
        (["search", *NET, *DATA, "--budget", "macs=50%", "--agent", "dpg"], ["'dpg'", "ddpg"]),
        (["search", *NET, *DATA, "--budget", "macs=50%", "--criterion", "best"], ["'best'", "obs"]),
        (["search", *NET, *DATA, "--budget", "macs=50%", "--reward", "joy"], ["'joy'", "kl"]),
        (["search", *NET, *DATA, "--budget", "macs=50%", "--episodes", "0"], ["episodes", "0"]),
        (["search", *NET, *DATA, "--budget", "macs=50%", "--device", "abacus"], ["abacus"]),
        (["search", *NET, *DATA, "--budget", "macs=50%", "--finetune-epochs", "-1"], ["--finetune-epochs"]),
        (["search", *NET, *DATA], ["--budget"]),
        (["resume", "nowhere"], ["nowhere", "autoprune search"]),
        (["apply", *NET, "--plan", "nowhere.json", "--out", "small"], ["nowhere.json"]),
        (["apply", *NET, "--plan", ".", "--out", "small"], ["plan.json"]),
        (["demo", "--budget", "half"], ["half"]),
        (["demo", "--out", "."], ["--out"]),
    ],
)
def test_a_bad_argument_is_one_line_and_exit_2(words: list[str], parts: list[str]) -> None:
    result = invoke(app, words)
    lines = [line for line in result.stderr.splitlines() if "error:" in line]
    assert result.exit_code == 2, result.stderr
    assert len(lines) == 1
    for part in parts:
        assert part in lines[0]
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def zoo() -> Any:
    """The user's module, found as the commands find it."""
    load_model("user_zoo:net")
    return sys.modules["user_zoo"]


def run_small(*extra: str) -> Any:
    return invoke(
        app, ["search", *NET, *DATA, "--budget", "macs=50%", "-n", "3", "-o", "run", *SMALL, *extra]
    )


@pytest.mark.usefixtures("workplace")
class TestSearch:
    def test_prints_the_comparison_and_leaves_a_network_that_loads(self) -> None:
        result = run_small("--finetune-epochs", "1")
        assert result.exit_code == 0, result.stderr
        rows = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("│")]
        assert rows == ["dense", "uniform", "greedy", "found"]
        for part in ("test accuracy", "after 1 epochs", "Best of 3 episodes", "autoprune.load('run/pruned'"):
            assert part in result.stdout
        user_zoo = zoo()
        dense = user_zoo.net()
        for name in ("pruned", "finetuned"):
            small = autoprune.load(Path("run", name), dense)
            assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in dense.parameters())

    def test_reads_the_test_set_only_when_the_search_is_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        user_zoo = zoo()
        seen: list[int] = []
        found = autoprune.search

        def spied(*args: Any, **settings: Any) -> Any:
            result = found(*args, **settings)
            seen.append(user_zoo.Counted.passes)
            return result

        monkeypatch.setattr(autoprune, "search", spied)
        user_zoo.Counted.passes = 0
        assert run_small().exit_code == 0
        assert set(seen) == {0}
        assert user_zoo.Counted.passes == 4

    def test_without_a_test_set_there_is_no_accuracy(self) -> None:
        result = run_small("--data", "user_zoo:no_test")
        assert result.exit_code == 0, result.stderr
        assert "test accuracy" not in result.stdout
        assert "search score" in result.stdout

    def test_quiet_leaves_stderr_empty(self) -> None:
        result = run_small("--quiet")
        assert (result.exit_code, result.stderr) == (0, "")

    def test_a_used_run_folder_is_refused_and_resume_named(self) -> None:
        assert run_small().exit_code == 0
        again = run_small()
        assert again.exit_code == 2
        assert "autoprune resume run" in again.stderr

    def test_resume_adds_episodes_without_naming_model_or_data(self) -> None:
        assert run_small().exit_code == 0
        result = invoke(app, ["resume", "run", "-n", "5"])
        assert result.exit_code == 0, result.stderr
        assert "Best of 5 episodes" in result.stdout

    def test_the_run_folder_has_a_name_of_its_own_if_none_is_given(self) -> None:
        words = ["search", *NET, *DATA, "--budget", "macs=50%", "-n", "1", *SMALL]
        assert invoke(app, words).exit_code == 0
        (folder,) = Path("runs").iterdir()
        assert folder.name.startswith("net-")

    def test_apply_makes_the_found_structure_again(self) -> None:
        assert run_small().exit_code == 0
        plain = invoke(app, ["apply", *NET, "--plan", "run", "--out", "plain"])
        assert plain.exit_code == 0, plain.stderr
        fitted = invoke(app, ["apply", *NET, *DATA, "--plan", "run/pruned/plan.json", "--out", "fitted"])
        assert fitted.exit_code == 0, fitted.stderr
        user_zoo = zoo()
        shapes = {
            name: {n: p.shape for n, p in autoprune.load(name, user_zoo.net()).named_parameters()}
            for name in ("plain", "fitted", "run/pruned")
        }
        assert shapes["plain"] == shapes["fitted"] == shapes["run/pruned"]


def test_criteria_lists_what_search_takes() -> None:
    result = invoke(app, ["criteria"])
    assert result.exit_code == 0, result.stderr
    for name in ("l1", "l2", "random", "obs"):
        assert f" {name} " in result.stdout


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "autoprune", *words]


def test_a_real_process_fails_with_one_line(workplace: Path) -> None:
    done = subprocess.run(
        command("inspect", "--model", "user_zoo:nett", "--input-shape", "1,1,6,6"),
        capture_output=True, text=True, cwd=workplace,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "did you mean 'net'?" in done.stderr


def test_ctrl_c_finishes_with_the_best_so_far(workplace: Path) -> None:
    words = command("search", *NET, *DATA, "--budget", "macs=50%", "-n", "100000", "-o", "run", *SMALL)
    process = subprocess.Popen(
        words, cwd=workplace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    journal = workplace / "run" / "checkpoint"
    deadline = time.monotonic() + 60
    while not (journal.is_dir() and any(journal.iterdir())) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Stopped after" in out
    assert "autoprune resume run" in out
    assert (workplace / "run" / "pruned" / "weights.safetensors").exists()
    json.loads((workplace / "run" / "pruned" / "plan.json").read_text())
