"""Every example runs as it is, in a process of its own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDS = {"image_folder": "PIL", "timm_model": "timm", "huggingface": "transformers", "custom_reward": None}
SHOWS = {
    "image_folder": "loaded again",
    "timm_model": "13 of 14 groups can be pruned",
    "huggingface": "pruned and fine-tuned",
    "custom_reward": "SmallDownload",
}
SHIM = Path(os.environ.get("ZOO_SHIM", ROOT.parent / "shared" / "tools" / "torchvision_cpu.py"))


def run(name: str, before: str = "") -> "subprocess.CompletedProcess[str]":
    """Run an example; `before` is Python that runs first in the same process."""
    path = str(ROOT / "examples" / f"{name}.py")
    start = f"{before}\nimport runpy\nrunpy.run_path({path!r}, run_name='__main__')"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-c", start], capture_output=True, text=True, env=environment, timeout=280
    )


def test_all_are_here() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(NEEDS)
    page = (ROOT / "examples" / "README.md").read_text()
    assert all(f"{name}.py" in page for name in NEEDS)


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_runs(name: str) -> None:
    needed = NEEDS[name]
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"needs {needed}")
    shim = (
        f"import sys\nsys.path.insert(0, {str(SHIM.parent)!r})\nimport {SHIM.stem}" if SHIM.exists() else ""
    )
    done = run(name, shim if needed in ("timm", "transformers") else "")
    if "torchvision::nms does not exist" in done.stderr:
        pytest.skip(f"{needed} needs torchvision, whose compiled ops do not load here")
    assert done.returncode == 0, done.stderr
    assert SHOWS[name] in done.stdout


@pytest.mark.parametrize("name", sorted(name for name, needed in NEEDS.items() if needed))
def test_a_missing_package_is_one_line(name: str) -> None:
    done = run(name, f"import sys\nsys.modules[{NEEDS[name]!r}] = None")
    assert done.returncode == 1
    assert done.stderr.startswith("this example needs ") and done.stderr.count("\n") == 1
