"""The environment is known by its id as soon as `autoprune.envs` is imported."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest


def run(code: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import gymnasium, autoprune.envs; print(gymnasium.spec('autoprune/Pruning-v0').entry_point)",
        "import gymnasium\n"
        "try: gymnasium.make('autoprune.envs:autoprune/Pruning-v0')\n"
        "except gymnasium.error.Error: raise\n"
        "except Exception as error: print('made by autoprune.envs, which refused:', error)",
        "import gymnasium, autoprune.envs as e; gymnasium.register_envs(e);"
        "print(gymnasium.spec('autoprune/Pruning-v0').entry_point)",
    ],
)
def test_the_id_is_registered_on_import(code: str, tmp_path: Path) -> None:
    assert "autoprune.envs" in run(code, tmp_path)


def test_the_entry_point_registers_and_may_be_called_again(tmp_path: Path) -> None:
    (entry,) = (e for e in entry_points(group="gymnasium.envs") if e.value.startswith("autoprune."))
    assert entry.value == "autoprune.envs.registration:register_envs"
    code = (
        "from importlib.metadata import entry_points; import gymnasium;"
        "f = next(e for e in entry_points(group='gymnasium.envs') if 'autoprune' in e.value).load();"
        "f(); f(); print(gymnasium.spec('autoprune/Pruning-v0').entry_point)"
    )
    assert "autoprune.envs" in run(code, tmp_path)
