"""Exported files: read again, compared, and run in a new process without this library."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import autoprune
from autoprune.api import export
from autoprune.cli.app import app
from autoprune.deploy import FORMATS, export_network
from autoprune.deploy import export as module
from autoprune.errors import ArgumentError, ModelError, RunError
from autoprune.plan import Plan, make_plan
from tests.api.problem import QUICK, data, network
from tests.api.runs import EXAMPLE, SOURCES
from tests.cli.invoke import invoke
from tests.surgery import nets

PROGRAMS = {"onnx": "net.onnx", "torch": "net.pt2"}

RUN = {
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
x = numpy.array(json.loads(sys.argv[2]), numpy.float32)
out = session.run(None, {session.get_inputs()[0].name: x})[0].tolist()
""",
    "torch": """
import torch
x = torch.tensor(json.loads(sys.argv[2]))
out = torch.export.load(sys.argv[1]).module()(x).tolist()
""",
}


def pruned(case: nets.Case) -> tuple[nn.Module, Plan]:
    model = case.model()
    graph = autoprune.trace(model, case.inputs())
    plan = make_plan(graph, model, {g.name: list(range(g.size // 2)) for g in graph.prunable if g.size > 1})
    return autoprune.apply(model, plan), plan


def pruned_plan() -> Plan:
    return pruned(nets.Case(nets.Shared, (3, 6)))[1]


def in_new_process(to: str, path: Path, x: torch.Tensor, cwd: Path) -> torch.Tensor:
    """What a process without autoprune makes of the file."""
    block = "for name in list(sys.modules):\n    assert not name.startswith('autoprune')\n"
    code = f"import json, sys, numpy\nsys.modules['autoprune'] = None\n{RUN[to]}\n"
    code += f"del sys.modules['autoprune']\n{block}print(json.dumps(out))"
    words = [sys.executable, "-W", "ignore", "-c", code, str(path), json.dumps(x.tolist())]
    done = subprocess.run(words, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return torch.tensor(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("to", PROGRAMS)
@pytest.mark.parametrize("case", [nets.Case(nets.Mobile, (2, 3, 8, 8))], ids=["mobile"])
def test_a_program_runs_without_this_library(to: str, case: nets.Case, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    model, _ = pruned(case)
    x, path = case.inputs(), tmp_path / PROGRAMS[to]
    model.train()
    made = export_network(model, path, to=to, example_inputs=x, rounds=3)
    assert all(m.training for m in model.modules())
    assert made.path == path and made.bytes == path.stat().st_size and made.difference <= 1e-4 * made.scale
    assert min(made.network_ms, made.file_ms) > 0 and "largest difference" in str(made)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with torch.no_grad():
        expected = model.eval()(x)
    torch.testing.assert_close(in_new_process(to, path, x, tmp_path), expected, rtol=1e-4, atol=1e-5)


def test_keyword_inputs_and_several_outputs(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(2, 3)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"sum": self.a(x) + self.b(y), "first": self.a(x)}

    inputs = {"x": torch.randn(2, 4), "y": torch.randn(2, 2)}
    for to, name in PROGRAMS.items():
        if to == "onnx":
            pytest.importorskip("onnxruntime")
        assert (
            export_network(Two(), tmp_path / name, to=to, example_inputs=inputs, rounds=1).difference < 1e-5
        )


class Scaled(nn.Module):
    """Two inputs with a batch, and one without."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, y: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return self.last(x) * y.sum(1, keepdim=True) * scale


@pytest.mark.parametrize("to", PROGRAMS)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_runs_without_this_library(to: str, batch: int, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    model, _ = pruned(nets.Case(nets.Mobile, (2, 3, 8, 8)))
    path = tmp_path / PROGRAMS[to]
    export_network(
        model, path, to=to, example_inputs=torch.randn(batch, 3, 8, 8), dynamic_batch=True, rounds=1
    )
    for size in (1, 4):
        x = torch.randn(size, 3, 8, 8)
        with torch.no_grad():
            expected = model.eval()(x)
        torch.testing.assert_close(in_new_process(to, path, x, tmp_path), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("to", PROGRAMS)
@pytest.mark.parametrize("named", [False, True])
def test_any_batch_of_several_inputs(to: str, named: bool, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    inputs: Any = {"x": torch.randn(2, 4), "y": torch.randn(2, 2), "scale": torch.randn(3)}
    inputs = inputs if named else tuple(inputs.values())
    made = export_network(
        Scaled(), tmp_path / PROGRAMS[to], to=to, example_inputs=inputs, dynamic_batch=True, rounds=1
    )
    assert made.difference < 1e-5


def test_a_batch_that_cannot_be_left_open(tmp_path: Path) -> None:
    class Fixed(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).view(2, 3)

    class Specialized(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + (1 if len(x) > 2 else 0)

    case: dict[str, Any] = {"example_inputs": torch.ones(2, 4), "dynamic_batch": True}
    with pytest.raises(
        ModelError, match="does not run on batches of another size, so leave dynamic_batch out"
    ):
        export_network(Fixed(4, 3), tmp_path / "a.pt2", to="torch", **case)
    with pytest.raises(ModelError, match="refuses the network: .*; where it fixes the batch size, leave dyn"):
        export_network(Specialized(4, 3), tmp_path / "a.pt2", to="torch", **case)
    with pytest.raises(ArgumentError, match="dynamic_batch goes with onnx and torch, got to='safetensors'"):
        export_network(nn.Linear(4, 3), tmp_path / "a", to="safetensors", plan=pruned_plan(), **case)
    with pytest.raises(ArgumentError, match="dynamic_batch needs example_inputs with a batch, got none"):
        export_network(
            nn.Linear(4, 3), tmp_path / "a.pt2", to="torch", example_inputs=(1.0,), dynamic_batch=True
        )
    assert list(tmp_path.iterdir()) == []


def test_safetensors_are_what_load_reads(tmp_path: Path) -> None:
    case = nets.Case(nets.Shared, (3, 6))
    model, plan = pruned(case)
    made = export_network(
        model, tmp_path / "out", to="safetensors", example_inputs=case.inputs(), plan=plan, rounds=2
    )
    assert made.difference == 0.0
    again = autoprune.load(tmp_path / "out", case.model())
    with torch.no_grad():
        torch.testing.assert_close(again(case.inputs()), model(case.inputs()), rtol=0, atol=0)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"to": "onx"}, "a.onnx", "to must be a known format, got 'onx'; did you mean 'onnx'"),
    ({"to": "onnx"}, "a.pt", "path must end with .onnx for to='onnx', got 'a.pt'"),
    ({"to": "torch"}, "a", "path must end with .pt2"),
    ({"to": "safetensors"}, "a", "needs the plan"),
]


@pytest.mark.parametrize(("arguments", "name", "message"), REFUSED)
def test_refuses(arguments: dict[str, Any], name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=message):
        export_network(nn.Linear(2, 2), tmp_path / name, example_inputs=torch.zeros(1, 2), **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_exported(tmp_path: Path) -> None:
    class Branches(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if x.sum() > 0 else x - 1

    with pytest.raises(ModelError, match=r"torch.export refuses the network"):
        export_network(Branches(), tmp_path / "a.pt2", to="torch", example_inputs=torch.ones(2))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_computes_something_else_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pt2"
    path.write_text("before")
    wrong = module.PROGRAMS["torch"]._replace(read=lambda *args: lambda: [torch.zeros(1, 2)])
    monkeypatch.setattr(module, "PROGRAMS", {"torch": wrong})
    with pytest.raises(ModelError, match=r"does not compute what the network does: outputs differ by"):
        export_network(nn.Linear(2, 2), path, to="torch", example_inputs=torch.ones(1, 2))
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match=r"needs onnx, onnxscript, onnxruntime.*autoprune\[onnx\]"):
        export_network(nn.Linear(2, 2), tmp_path / "a.onnx", to="onnx", example_inputs=torch.ones(1, 2))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = QUICK | {"baselines": (), "episodes": 2, "run_dir": folder}
    return folder, autoprune.search(network(), EXAMPLE, data(), "macs=50%", **settings, **SOURCES)


@pytest.mark.parametrize("to", FORMATS)
def test_a_run_by_the_command(to: str, run: tuple[Path, Any], tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    out = tmp_path / PROGRAMS.get(to, "folder")
    further = ["--dynamic-batch"] if to in PROGRAMS else []
    done = invoke(app, ["export", str(run[0]), "--to", to, "--out", str(out), *further])
    assert done.exit_code == 0, done.stderr
    assert out.exists() and re.search(r"read again, largest difference", done.stdout)


def test_a_result_and_a_network(run: tuple[Path, Any], tmp_path: Path) -> None:
    result = run[1]
    made = export(result, tmp_path / "a.pt2", to="torch", example_inputs=EXAMPLE)
    assert made.difference <= 1e-5 * made.scale
    export(result.model, tmp_path / "b.pt2", to="torch", example_inputs=EXAMPLE)
    for source in (result, result.model):
        with pytest.raises(ArgumentError, match="example_inputs must be given"):
            export(source, tmp_path / "c.pt2", to="torch")
    with pytest.raises(RunError, match="holds no run"):
        export(tmp_path, tmp_path / "c.pt2", to="torch")
