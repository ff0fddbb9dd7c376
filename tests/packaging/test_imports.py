"""Imports run one way, and `import autoprune` loads next to nothing."""

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

FACADE = {"__init__", "__main__", "api", "run", "report", "cli", "demo", "pipelines"}
RL = {"gymnasium", "stable_baselines3", "optuna", "cmaes"}
UI = {"typer", "click", "rich"}


def part(module: str) -> str:
    """engine, envs, agents or facade: where a module of autoprune stands in the one direction of imports."""
    second = [*module.split("."), "__init__"][1]
    if second in ("envs", "agents"):
        return second
    return "facade" if second in FACADE else "engine"


FORBIDDEN = {
    "engine": ({"envs", "agents", "facade"}, RL | UI),
    "envs": ({"agents", "facade"}, {"optuna", "cmaes"} | UI),
    "agents": ({"facade"}, UI),
    "facade": (set(), set()),
}


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    for folder, inside in (
        ("autoprune", "autoprune"),
        ("envs", "autoprune.envs"),
        ("agents", "autoprune.agents"),
    ):
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            yield ".".join([inside, *(p for p in parts if p != "__init__")]), path


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions too; `import autoprune` alone is the facade."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield from (f"{node.module}.{name.name}" for name in node.names)


def wrong(module: str, path: Path) -> list[str]:
    parts, libraries = FORBIDDEN[part(module)]
    return [
        f"{module} imports {name}"
        for name in imported(path)
        if (name.split(".")[0] == "autoprune" and part(name) in parts) or name.split(".")[0] in libraries
    ]


def test_imports_run_one_way(root: Path) -> None:
    assert [line for module, path in modules(root) for line in wrong(module, path)] == []


@pytest.mark.parametrize(
    ("module", "text", "caught"),
    [
        ("autoprune.budget.x", "import gymnasium", True),
        ("autoprune.budget.x", "def f():\n    from autoprune.envs.env import PruningEnv", True),
        ("autoprune.budget.x", "import autoprune", True),
        ("autoprune.budget.x", "from autoprune.errors import BudgetError", False),
        ("autoprune.envs.x", "from autoprune.agents import Agent", True),
        ("autoprune.envs.x", "import gymnasium", False),
        ("autoprune.agents.x", "from autoprune.run.study import open_study", True),
        ("autoprune.agents.x", "from autoprune import envs", False),
        ("autoprune.cli.x", "import typer, autoprune.agents", False),
    ],
)
def test_the_check_of_imports_sees_what_it_should(
    module: str, text: str, caught: bool, tmp_path: Path
) -> None:
    path = tmp_path / "x.py"
    path.write_text(text)
    assert bool(wrong(module, path)) == caught


def run(code: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(statement: str, cwd: Path) -> set[str]:
    """The top-level modules that are loaded after a statement in a fresh interpreter."""
    return set(run(f"import sys\n{statement}\nprint(*{{n.split('.')[0] for n in sys.modules}})", cwd).split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import autoprune", RL | UI | {"torch", "numpy", "pydantic"}),
        ("from autoprune.cli.app import app", RL | {"torch", "numpy", "pydantic"}),
        ("from autoprune import trace, apply, Budget", RL | UI),
        ("from autoprune import search", UI),
    ],
)
def test_what_an_import_does_not_load(statement: str, absent: set[str], tmp_path: Path) -> None:
    assert loaded_by(statement, tmp_path) & absent == set()


def test_the_engine_runs_without_the_rl_libraries(root: Path, tmp_path: Path) -> None:
    engine = [module for module, _ in modules(root) if part(module) == "engine"]
    block = f"for name in {sorted(RL | UI)}: sys.modules[name] = None"
    run(f"import sys, importlib\n{block}\nfor m in {engine}: importlib.import_module(m)", tmp_path)


def test_importing_autoprune_is_quick(tmp_path: Path) -> None:
    def seconds(code: str) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            run(code, tmp_path)
            times.append(time.perf_counter() - start)
        return min(times)

    assert seconds("import autoprune") - seconds("pass") < 0.2
