import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import autoprune


def test_every_public_name_exists() -> None:
    for name in autoprune.__all__:
        assert getattr(autoprune, name) is not None
        assert name in dir(autoprune)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'autoprune' has no attribute 'prune'"):
        _ = autoprune.prune  # type: ignore[attr-defined]


def test_the_version() -> None:
    assert autoprune.__version__[0].isdigit()


@pytest.mark.parametrize(
    "first", ["import autoprune.plan, autoprune.verify", "from autoprune import plan, verify"]
)
def test_a_submodule_never_hides_the_function_of_its_name(first: str, tmp_path: Path) -> None:
    code = (
        f"{first}\n"
        "import sys, autoprune\n"
        "from autoprune.plan import Plan\n"
        "from autoprune.verify import Verification\n"
        "for name in ('plan', 'verify'):\n"
        "    function, module = getattr(autoprune, name), sys.modules['autoprune.' + name]\n"
        "    assert callable(function) and function is not module and function.__name__ == name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_names_lead_to_their_home() -> None:
    for name, home in autoprune._HOME.items():
        assert getattr(importlib.import_module(home), name) is getattr(autoprune, name)
    assert {*autoprune._HOME, "__version__"} == set(autoprune.__all__)
