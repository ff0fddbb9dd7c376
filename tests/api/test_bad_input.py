import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import (
    ArgumentError,
    AutopruneError,
    BudgetError,
    DataError,
    ModelError,
    RunError,
    TraceError,
)
from tests.api.problem import BUDGET, CLASSES, QUICK, SmallNet, data, network, tensors

EXAMPLE = torch.zeros(1, 1, 8, 8)
X, Y = tensors(60, 1)
GOOD = [(X, Y)]


def broken(change: Callable[[SmallNet], Any]) -> nn.Module:
    model: Any = network()
    with torch.no_grad():
        change(model)
    return model  # type: ignore[no-any-return]


class Overflow(nn.Module):
    """Finite weights, outputs that are not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head((self.conv(x) * 1e30).square().mean((2, 3)))
        return out


class Branching(SmallNet):
    """What torch.export refuses."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x if x.sum().item() > 0 else -x)


class Listing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> Any:
        return str(self.head(self.conv(x).mean((2, 3))).shape)


CASES: list[tuple[str, dict[str, Any], type[AutopruneError], str]] = [
    ("not a module", {"model": SmallNet}, ArgumentError, "model must be a torch.nn.Module, got type"),
    (
        "NaN weight",
        {"model": broken(lambda m: m.conv2.weight[0, 0].fill_(float("nan")))},
        ModelError,
        "'conv2.weight' holds NaN or infinity",
    ),
    (
        "infinite buffer",
        {"model": broken(lambda m: m.norm.running_var.fill_(float("inf")))},
        ModelError,
        "'norm.running_var' holds NaN",
    ),
    (
        "outputs not finite",
        {"model": Overflow(), "example_inputs": torch.full((1, 1, 8, 8), 1e9)},
        ModelError,
        "outputs",
    ),
    (
        "outputs not finite on data",
        {"model": Overflow()},
        ModelError,
        "outputs on the inputs of data.train must be",
    ),
    ("outputs not a tensor", {"model": Listing()}, AutopruneError, "str"),
    ("export refuses", {"model": Branching()}, TraceError, "try"),
    (
        "nothing to prune",
        {"model": nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))},
        ModelError,
        "must have a group that can be pruned",
    ),
    (
        "wrong channels",
        {"example_inputs": torch.zeros(1, 3, 8, 8)},
        ArgumentError,
        r"example_inputs must be inputs that the model takes, got shape \(1, 3, 8, 8\)",
    ),
    ("too small", {"example_inputs": torch.zeros(1, 1, 2, 2)}, ArgumentError, "got shape"),
    ("too many", {"example_inputs": (EXAMPLE, EXAMPLE)}, ArgumentError, "got shapes .*TypeError"),
    ("no inputs", {"example_inputs": "text"}, ArgumentError, "example_inputs must be a tensor"),
    (
        "no splits",
        {"data": [GOOD, GOOD]},
        DataError,
        "data must have the loaders train and search_val.*got list",
    ),
    ("half the splits", {"data": autoprune.DataSplits(GOOD, None)}, DataError, "without search_val"),  # type: ignore[arg-type]
    ("empty train", {"data": autoprune.DataSplits([], GOOD)}, DataError, "data.train .* empty loader"),
    (
        "empty search_val",
        {"data": autoprune.DataSplits(GOOD, [])},
        DataError,
        "data.search_val .* empty loader",
    ),
    (
        "read once",
        {"data": autoprune.DataSplits(iter(GOOD), GOOD)},
        ArgumentError,
        "data.train must be a loader",
    ),
    (
        "strange batch",
        {"data": autoprune.DataSplits(GOOD, ["a"])},
        DataError,
        "batch 0 of data.search_val must be",
    ),
    (
        "label too large",
        {"data": autoprune.DataSplits(GOOD, [(X, Y + 1)])},
        DataError,
        r"labels must lie in 0..3, the classes of the model, got 4",
    ),
    ("label negative", {"data": autoprune.DataSplits(GOOD, [(X, Y - 1)])}, DataError, "got -1"),
    (
        "labels that are floats",
        {"data": autoprune.DataSplits(GOOD, [(X, Y.float())])},
        DataError,
        "class indices",
    ),
    ("NaN image", {"data": autoprune.DataSplits(GOOD, [(X * float("nan"), Y)])}, DataError, "finite inputs"),
    (
        "NaN image in train",
        {"data": autoprune.DataSplits([(X, Y), (X * float("inf"), Y)], GOOD)},
        DataError,
        "batch 1 of data.train must hold finite inputs",
    ),
    (
        "images of another size",
        {"data": autoprune.DataSplits(GOOD, [(X[:, :, :2], Y)])},
        DataError,
        "inputs of data.search_val must be",
    ),
    (
        "accuracy without labels",
        {"data": autoprune.DataSplits([X], [X]), "reward": "accuracy"},
        DataError,
        "accuracy score needs labels",
    ),
    ("budget nonsense", {"budget": "half"}, BudgetError, "budget 'half' does not parse; allowed"),
    ("budget of nothing", {"budget": ""}, BudgetError, "does not parse"),
    ("budget 0", {"budget": "macs=0%"}, BudgetError, "must be above 0"),
    ("budget above all", {"budget": "macs=101%"}, BudgetError, "at most 100%"),
    ("budget above dense", {"budget": "params=1G"}, BudgetError, "must not exceed the dense model"),
    ("unknown cost", {"budget": "maks=50%"}, BudgetError, "did you mean"),
    ("infeasible", {"budget": "macs=1%"}, BudgetError, "cannot be met: .*macs is still"),
    ("budget of another type", {"budget": 0.5}, ArgumentError, "budget must be a text such as"),
    ("episodes", {"episodes": 0}, ArgumentError, "episodes: .*greater than or equal to 1, got 0"),
    ("episodes as text", {"episodes": "many"}, ArgumentError, "episodes: .*integer.*got 'many'"),
    ("seed", {"seed": -1}, ArgumentError, "seed: .*got -1"),
    ("round_to", {"round_to": 0}, ArgumentError, "round_to: .*got 0"),
    ("lower", {"lower": 1.0}, ArgumentError, "lower: .*less than 1, got 1.0"),
    ("search_images", {"search_images": 0}, ArgumentError, "search_images: .*got 0"),
    ("baselines", {"baselines": ["best"]}, ArgumentError, "baselines.0: .*'uniform' or 'greedy', got 'best'"),
    ("agent_settings", {"agent_settings": {"a": object()}}, ArgumentError, "agent_settings"),
    (
        "agent's setting",
        {"agent_settings": {"speed": 9}},
        ArgumentError,
        "agent 'random' cannot be made .*speed",
    ),
    ("agent", {"agent": "dqn"}, ArgumentError, "agent must be .*'?dqn"),
    ("reward", {"reward": "speed"}, ArgumentError, "reward must be a known name or a callable, got 'speed'"),
    ("criterion", {"criterion": "best"}, ArgumentError, "criterion must be one of .*got 'best'"),
    ("device", {"device": "abacus"}, ArgumentError, "device must be one that torch has here, got 'abacus'"),
    ("callback", {"callbacks": [print]}, ArgumentError, "callbacks must be autoprune.Callback objects"),
    ("storage", {"storage": "nonsense://x"}, RunError, "storage 'nonsense://x' cannot be opened"),
]


@pytest.mark.parametrize(("changes", "error", "message"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_bad_input_is_a_clear_error_and_nothing_is_lost(
    changes: dict[str, Any], error: type[AutopruneError], message: str, tmp_path: Path
) -> None:
    model = changes.get("model", network())
    if isinstance(model, nn.Module):
        model.train()
    before = copy.deepcopy(model.state_dict()) if isinstance(model, nn.Module) else None
    arguments = (
        {"model": model, "example_inputs": EXAMPLE, "data": data(), "budget": BUDGET} | QUICK | changes
    )
    with pytest.raises(error, match=message):
        autoprune.search(**arguments, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    if isinstance(model, nn.Module):
        torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0, equal_nan=True)
        assert all(module.training for module in model.modules())


def test_messages_are_single_sentences() -> None:
    for changes in ({"budget": "half"}, {"example_inputs": torch.zeros(1, 3, 8, 8)}, {"episodes": 0}):
        arguments: dict[str, Any] = {
            "model": network(),
            "example_inputs": EXAMPLE,
            "data": data(),
            "budget": BUDGET,
        }
        with pytest.raises(AutopruneError) as caught:
            autoprune.search(**arguments | QUICK | changes)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: path.write_text("mine"), "must be a folder, got a file"),
        (
            lambda path: (path.mkdir(), (path / "notes").write_text("mine")),
            "must be new or empty, it holds 'notes'",
        ),
        (lambda path: (path.mkdir(), (path / "config.json").write_text("{")), "already holds a run.*resume"),
    ],
)
def test_a_run_dir_that_cannot_be_used_is_refused_before_any_work(
    prepare: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    prepare(path)
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    arguments: dict[str, Any] = {
        "model": network(),
        "example_inputs": EXAMPLE,
        "data": data(),
        "budget": BUDGET,
    }
    with pytest.raises(RunError, match=message):
        autoprune.search(**arguments | QUICK, run_dir=path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files


def test_an_unwritable_run_dir() -> None:
    arguments: dict[str, Any] = {
        "model": network(),
        "example_inputs": EXAMPLE,
        "data": data(),
        "budget": BUDGET,
    }
    with pytest.raises(RunError, match="'/proc/autoprune'.*choose a run_dir that you may write to"):
        autoprune.search(**arguments | QUICK, run_dir="/proc/autoprune")
