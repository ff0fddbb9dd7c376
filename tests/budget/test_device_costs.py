"""Size and memory of candidates against the file that is written and against a run that is watched."""

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from autoprune.budget.memory import MemoryCost
from autoprune.budget.size import SizeCost
from autoprune.errors import ModelError
from autoprune.files import write_tensors
from autoprune.graph import PruneGraph, rewrite, trace, trace_program
from autoprune.graph.rewrite import state_order
from autoprune.plan import make_plan
from autoprune.surgery import apply
from tests.budget import graphs
from tests.surgery import nets

CASES = {
    "plain": nets.Case(nets.Plain, (2, 3, 8, 8)),
    "residual": nets.Case(nets.Residual, (2, 3, 8, 8)),
    "mobile": nets.Case(nets.Mobile, (1, 3, 8, 8)),
    "dense": nets.Case(nets.Dense, (3, 3, 6, 6)),
    "shared": nets.Case(nets.Shared, (4, 6)),
    "signal": nets.Case(nets.Signal, (2, 2, 20)),
}


def vectors(graph: PruneGraph, count: int = 4) -> np.ndarray:
    """Random widths, the dense and the smallest ones."""
    drawn = graphs.random_widths(graph, np.random.default_rng(0), count)
    sizes = np.array([g.size for g in graph.prunable])
    return np.concatenate([sizes[None], np.ones_like(sizes)[None], drawn])


def kept(graph: PruneGraph, vector: np.ndarray) -> dict[str, list[int]]:
    return {g.name: list(range(w)) for g, w in zip(graph.prunable, vector.tolist(), strict=True)}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_size_is_that_of_the_file(case: nets.Case, tmp_path: Any) -> None:
    model = case.model()
    graph = trace(model, case.inputs())
    cost = SizeCost(graph)
    rows = vectors(graph)
    for vector, size in zip(rows, cost(rows).tolist(), strict=True):
        small = apply(model, make_plan(graph, model, kept(graph, vector)))
        unique = {id(t): (n, t) for n, t in reversed(small.state_dict(keep_vars=True).items())}
        write_tensors(tmp_path / "w", dict(unique.values()))
        assert (tmp_path / "w").stat().st_size == size


def test_size_counts_every_type_and_many_digits(tmp_path: Any) -> None:
    model = nn.Sequential(
        nn.Linear(100, 1200, dtype=torch.float64), nn.BatchNorm1d(1200), nn.Linear(1200, 9).half()
    )
    graph = trace(
        nn.Sequential(nn.Linear(100, 1200), nn.BatchNorm1d(1200), nn.Linear(1200, 9)), torch.zeros(1, 100)
    )
    write_tensors(tmp_path / "w", model.state_dict())
    assert SizeCost(graph, model)(np.array([1200])).item() == (tmp_path / "w").stat().st_size


class Watch(TorchDispatchMode):
    """Sums the storages that are alive, and keeps the largest sum."""

    def __init__(self, ignored: list[Tensor]) -> None:
        super().__init__()
        self.known = {t.untyped_storage()._cdata for t in ignored}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, Tensor) and (storage := leaf.untyped_storage())._cdata not in self.known:
                self.known.add(storage._cdata)
                self.now += storage.nbytes()
                weakref.finalize(storage, self.gone, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def measured(traced: Any, graph: PruneGraph, vector: np.ndarray, inputs: Tensor) -> int:
    """Peak of a run of the pruned graph that frees every value behind its last use."""
    module = rewrite(traced, kept(graph, vector))
    flat = module.get_submodule("_graph")
    assert isinstance(flat, fx.GraphModule)
    state = dict(module.named_parameters()) | dict(module.named_buffers())
    held = [state[str(name)] for name in state_order(traced)]
    places = [node for node in flat.graph.nodes if node.op == "placeholder"]
    mode = {"batch": len(inputs), "training": False}
    front = [mode[str(node.target)] for node in places[: len(places) - len(held) - 1]]
    args = [*front, *held, inputs]
    with torch.no_grad(), Watch([*held, inputs]) as watch:
        fx.Interpreter(flat).run(*args)
    return watch.peak


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_memory_is_what_a_run_allocates(case: nets.Case) -> None:
    model, inputs = case.model(), case.inputs()
    traced = trace_program(model, inputs)
    rows = vectors(traced.graph)
    for vector, peak in zip(rows, MemoryCost(traced)(rows).tolist(), strict=True):
        assert peak == measured(traced, traced.graph, vector, inputs)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_never_fall_when_a_width_grows(case: nets.Case) -> None:
    traced = trace_program(case.model(), case.inputs())
    rows = vectors(traced.graph, 20)
    sizes = rows[0]
    for cost in (SizeCost(traced.graph), MemoryCost(traced)):
        assert cost(rows[0]).shape == () and cost(rows[None]).shape == (1, len(rows))
        for i in range(len(sizes)):
            larger = rows.copy()
            larger[:, i] = np.minimum(larger[:, i] + 1, sizes[i])
            assert (cost(larger) >= cost(rows)).all()


def test_locked_groups_count_as_dense() -> None:
    traced = trace_program(CASES["plain"].model(), CASES["plain"].inputs())
    name = traced.graph.prunable[0].name
    graph = traced.graph.locked({name: "excluded"})
    full = vectors(traced.graph)
    full[:, 0] = traced.graph.prunable[0].size
    for whole, part in (
        (SizeCost(traced.graph), SizeCost(graph)),
        (MemoryCost(traced), MemoryCost(traced, graph)),
    ):
        assert np.array_equal(whole(full), part(full[:, 1:]))


def test_size_needs_a_model() -> None:
    with pytest.raises(ModelError, match="needs the network itself"):
        SizeCost(graphs.residual())
