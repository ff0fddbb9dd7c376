from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.errors import ArgumentError, RunError
from autoprune.run.config import make_settings
from autoprune.run.inputs import read_inputs, write_inputs
from autoprune.run.result import format_table
from tests.run.test_directory import SETTINGS

X, IDS = torch.randn(2, 3), torch.arange(4)


@pytest.mark.parametrize(
    "inputs",
    [
        X,
        (X,),
        (X, IDS),
        (X, X),
        (X, 2, None, True),
        {"input_ids": IDS, "mask": X.half(), "return_dict": False},
        {"b": X, "a": IDS},
        tuple(torch.full((1,), float(i)) for i in range(12)),
    ],
    ids=lambda inputs: type(inputs).__name__,
)
def test_example_inputs_come_back(inputs: Any, tmp_path: Path) -> None:
    write_inputs(tmp_path / "x", inputs)
    got = read_inputs(tmp_path / "x")
    assert type(got) is type(inputs)
    if isinstance(inputs, dict):
        assert list(got) == list(inputs)
    torch.testing.assert_close(got, inputs, rtol=0, atol=0)


def test_what_cannot_be_kept(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="must be tensors and plain values"):
        write_inputs(tmp_path / "x", (X, object()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, b"", b"\x00" * 40])
def test_a_damaged_file(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    with pytest.raises(RunError, match="cannot be read.*pass example_inputs to resume"):
        read_inputs(tmp_path / "x")


def test_settings_are_checked() -> None:
    assert make_settings(**SETTINGS).episodes == 3
    with pytest.raises(ArgumentError, match="seed: .*greater than or equal to 0, got -3"):
        make_settings(**SETTINGS | {"seed": -3})


def test_a_table() -> None:
    assert format_table([["", "macs"], ["dense", "1"], ["x", "20"]]) == (
        "       macs\n"
        "-----  ----\n"
        "dense     1\n"
        "x        20"
    )  # fmt: skip
