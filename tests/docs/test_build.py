"""The documentation builds without a warning: links, anchors, included files, names of the reference."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_builds_strictly(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: the extra `docs`")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "site" / "reference" / "search" / "index.html").read_text()
    assert "Find how much of each layer of a trained network to prune" in reference
    compared = (tmp_path / "site" / "compare" / "index.html").read_text()
    assert "python -m benchmarks." in compared
    assert "ddpg" in compared and "Torch-Pruning" in compared and "benchmark:" not in compared
