"""The wheel holds exactly the source tree, under one import name."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

FOLDERS = {"autoprune": "autoprune", "envs": "autoprune/envs", "agents": "autoprune/agents"}


def tree(root: Path) -> set[str]:
    """What belongs into the wheel, by the path that it has there."""
    return {
        f"{inside}/{path.relative_to(root / folder).as_posix()}"
        for folder, inside in FOLDERS.items()
        for path in (root / folder).rglob("*")
        if path.is_file() and (path.suffix in (".py", ".html", ".css", ".js") or path.name == "py.typed")
    }


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a source distribution of a copy, so that nothing of earlier builds slips in."""
    copy = tmp_path_factory.mktemp("copy")
    for name in FOLDERS:
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, copy)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next((copy / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel unpacked, as an installer would."""
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_the_wheel_is_the_tree(wheel: Path, root: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == tree(root), "keep [tool.setuptools] packages in pyproject.toml in step with the folders"


def test_the_list_of_packages_has_no_stale_names(root: Path) -> None:
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {str(Path(name).parent).replace("/", ".") for name in tree(root)}
    assert sorted(listed) == sorted(folders)


def test_the_wheel_carries_the_license_and_the_entry_points(installed: Path) -> None:
    info = next(installed.glob("*.dist-info"))
    assert "MIT License" in next(info.rglob("LICENSE")).read_text()
    entries = (info / "entry_points.txt").read_text()
    assert "autoprune = autoprune.cli:main" in entries
    assert "__root__ = autoprune.envs.registration:register_envs" in entries


def test_the_unpacked_wheel_imports_and_runs(installed: Path, tmp_path: Path) -> None:
    code = (
        "import autoprune, autoprune.envs, autoprune.agents, sys;"
        "from autoprune.__main__ import main;"
        "print(autoprune.__file__, autoprune.envs.__file__, autoprune.agents.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert all(path.startswith(str(installed)) for path in done.stdout.split())
