import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from autoprune.errors import ArgumentError, ModelError, PlanError
from autoprune.graph import trace
from autoprune.io import MANIFEST, PLAN, WEIGHTS, load, save
from autoprune.plan import Plan, make_plan
from autoprune.surgery import apply
from tests.surgery.nets import CASES, Shared, random_keep

FILES = {MANIFEST, PLAN, WEIGHTS}


def prepared(name: str = "shared") -> tuple[nn.Module, Plan, nn.Module]:
    """Dense model, plan, and the pruned model after some training."""
    model = CASES[name].model()
    graph = trace(model, CASES[name].inputs())
    plan = make_plan(graph, model, random_keep(graph, 0, 0.5))
    small = apply(model, plan)
    with torch.no_grad():
        for tensor in (*small.parameters(), *small.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1.25)
    return model, plan, small


@pytest.mark.parametrize("name", CASES)
def test_round_trip(tmp_path: Path, name: str) -> None:
    dense, plan, small = prepared(name)
    save(small, plan, tmp_path / "made" / "net")
    assert {p.name for p in (tmp_path / "made" / "net").iterdir()} == FILES
    fresh = CASES[name].make().eval()
    loaded = load(tmp_path / "made" / "net", fresh)
    x = CASES[name].inputs()
    with torch.no_grad():
        assert torch.equal(loaded(x), small(x))
        assert not torch.equal(loaded(x), apply(dense, plan)(x))
    assert type(loaded) is type(dense)
    assert all(
        torch.equal(a, b)
        for a, b in zip(loaded.state_dict().values(), small.state_dict().values(), strict=True)
    )


def test_shared_tensors_are_stored_once_and_shared_again(tmp_path: Path) -> None:
    dense, plan, small = prepared()
    save(small, plan, tmp_path / "net")
    stored = load_file(tmp_path / "net" / WEIGHTS)
    assert set(stored) == set(dict(dense.named_parameters())) < set(dense.state_dict())
    loaded = load(tmp_path / "net", dense)
    assert isinstance(loaded, Shared) and loaded.c.weight is loaded.b.weight


def test_saving_again_replaces_the_folder(tmp_path: Path) -> None:
    dense, plan, small = prepared()
    save(small, plan, tmp_path / "net")
    first = (tmp_path / "net" / WEIGHTS).read_bytes()
    save(apply(dense, plan), plan, tmp_path / "net")
    assert (tmp_path / "net" / WEIGHTS).read_bytes() != first
    assert {p.name for p in tmp_path.iterdir()} == {"net"} and {
        p.name for p in (tmp_path / "net").iterdir()
    } == FILES
    (tmp_path / "empty").mkdir()
    save(small, plan, tmp_path / "empty")


def occupied(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("mine")
        return
    path.mkdir()
    (path / "thesis.txt").write_text("mine")
    if kind == "folder with our manifest and more":
        (path / MANIFEST).write_text(json.dumps({"format": "autoprune model"}))
    if kind == "folder with a damaged manifest":
        (path / MANIFEST).write_text("{")


@pytest.mark.parametrize(
    "kind", ["file", "folder", "folder with our manifest and more", "folder with a damaged manifest"]
)
def test_anything_else_is_never_replaced(tmp_path: Path, kind: str) -> None:
    _, plan, small = prepared()
    path = tmp_path / "taken"
    occupied(path, kind)
    with pytest.raises(ArgumentError, match="must be new or a folder that autoprune.save wrote"):
        save(small, plan, path)
    assert (path if kind == "file" else path / "thesis.txt").read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir()} == {"taken"}


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("damage", ["truncated", "one bit", "missing", "empty"])
def test_a_damaged_folder_is_refused_by_name_and_left_alone(tmp_path: Path, name: str, damage: str) -> None:
    dense, plan, small = prepared()
    save(small, plan, tmp_path / "net")
    path = tmp_path / "net" / name
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        data = data[: len(data) // 2] if damage == "truncated" else bytearray() if damage == "empty" else data
        if damage == "one bit":
            data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(PlanError) as error:
        load(tmp_path / "net", dense)
    assert name in str(error.value) or (name == MANIFEST and damage == "one bit")
    assert path.exists() == (damage != "missing") and (
        damage == "missing" or path.read_bytes() == bytes(data)
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 9}, "version 9"),
        ({"format": "other"}, "does not belong"),
        ({"sha256": {}}, "checksums"),
        ({"sha256": {WEIGHTS: "0", PLAN: "0", "../secret": "0"}}, "checksums"),
    ],
)
def test_a_foreign_manifest_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    dense, plan, small = prepared()
    save(small, plan, tmp_path / "net")
    path = tmp_path / "net" / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(PlanError, match=words):
        load(tmp_path / "net", dense)


def test_another_dense_model_or_plan_is_refused(tmp_path: Path) -> None:
    dense, plan, small = prepared()
    save(small, plan, tmp_path / "net")
    with pytest.raises(PlanError, match="another network"):
        load(tmp_path / "net", CASES["mlp"].model())
    with pytest.raises(PlanError, match="not the one that the plan yields"):
        save(dense, plan, tmp_path / "dense")
    assert not (tmp_path / "dense").exists()
    assert load(tmp_path / "net", dense).state_dict().keys() == dense.state_dict().keys()


def test_a_failed_save_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dense, plan, small = prepared()
    save(small, plan, tmp_path / "net")

    def fail(*args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Plan, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save(apply(dense, plan), plan, tmp_path / "net")
    monkeypatch.undo()
    assert {p.name for p in tmp_path.iterdir()} == {"net"}
    x = CASES["shared"].inputs()
    assert torch.equal(load(tmp_path / "net", dense)(x), small(x))


def test_what_a_crash_left_is_named(tmp_path: Path) -> None:
    dense, plan, small = prepared()
    save(small, plan, tmp_path / "net")
    os.replace(tmp_path / "net", tmp_path / ".net.123-abc.old")
    with pytest.raises(PlanError, match=r"interrupted save left .*\.net\.123-abc\.old"):
        load(tmp_path / "net", dense)


class Stateful(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"a": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


def test_state_that_would_need_pickle_is_refused(tmp_path: Path) -> None:
    model = nn.Sequential(Stateful(6, 8), nn.Linear(8, 2)).eval()
    graph = trace(model, torch.randn(1, 6))
    plan = make_plan(graph, model, {graph.prunable[0].name: [0, 1]})
    with pytest.raises(ModelError, match="_extra_state"):
        save(apply(model, plan), plan, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []
