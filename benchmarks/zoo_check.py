"""One network of the zoo: traced, pruned at random, and proved by running, by this library and by another.

Both sides see the same network: random weights, no zero-initialized branches, batch normalization that fits
its inputs, so that no channel is without effect. The proof is the same too: in float64, the outputs of the
smaller network equal those of the dense network with the removed channels zeroed.
"""

import copy
import time
import warnings
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.errors import ModelError
from autoprune.graph import PruneGraph, counted_macs, trace
from autoprune.plan import Plan, make_plan
from autoprune.surgery import proven, zeroed
from autoprune.surgery.apply import pruned
from autoprune.surgery.compare import call, cast, outputs, relative
from autoprune.surgery.slicer import Slicer
from autoprune.surgery.tensors import held_tensors
from autoprune.verify import Verification, verify
from benchmarks.results import Record
from benchmarks.zoo_models import CLASSES, Entry

Keep = Mapping[str, Sequence[int]]
MATTERS = 1e-6
"""A draw whose removed units change the outputs by less (relative) proves nothing."""

TOLD_APART = {torch.float64: 1e-8, torch.float32: 1e-4}
"""A difference above this (relative) is no rounding."""

SMALL = 1e-4
"""Weights of a smaller standard deviation make a branch that is as good as zero."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def prepared(entry: Entry, seed: int = 0) -> nn.Module:
    """The network with weights under which every channel matters, in eval mode."""
    torch.manual_seed(seed)
    model = entry.make()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.is_floating_point():
                continue
            if parameter.ndim <= 1 or float(parameter.float().std(correction=0)) < SMALL:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    _fit_norms(model, entry.inputs(), generator)
    return model.eval()


@torch.no_grad()
def _fit_norms(model: nn.Module, inputs: Any, generator: torch.Generator) -> None:
    """Set the statistics of batch normalization to those of noise, 8 rows of it."""
    norms = [m for m in model.modules() if isinstance(m, NORMS) and m.track_running_stats]
    if not norms:
        return

    def noise(value: Any) -> Any:
        wide = isinstance(value, Tensor) and value.is_floating_point()
        return torch.randn(8, *value.shape[1:], generator=generator) if wide else value

    model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    call(model, pytree.tree_map(noise, inputs))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def ours(entry: Entry, draws: int = 3) -> Record:
    """Trace, prune at random ratios in both forms, verify every result."""
    started = time.perf_counter()
    model, inputs = prepared(entry), entry.inputs()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = trace(model, inputs)
        seconds = time.perf_counter() - started
        graph = proven(traced)
        exported = graph if graph.form == "graph" else proven(traced, form="graph")
        faults = [] if traced.macs() == counted_macs(model, inputs) else ["MACs of the dense network"]
        worst = 0.0
        checked = [(graph, draws)] if graph is exported else [(graph, draws), (exported, 1)]
        checked = [(form, count) for form, count in checked if form.prunable]
        for form, count in checked:
            for seed in range(count):
                found = _verified(form, model, inputs, seed)
                worst = max(worst, found.difference)
                faults += _faults(form, found)
        if graph.prunable:
            faults += _control(graph, model, inputs)
    return {
        "groups": len(graph.prunable),
        "share": share(graph),
        "share_graph": share(exported),
        "form": graph.form,
        "reason": graph.form_reason,
        "own_class": graph.form == "class" and not _beyond(graph),
        "cannot_follow": _beyond(exported),
        "difference": worst,
        "faults": faults,
        "trace_seconds": seconds,
        "seconds": time.perf_counter() - started,
        "locked": locked(graph),
    }


def _verified(graph: PruneGraph, model: nn.Module, inputs: Any, seed: int) -> Verification:
    plan = make_plan(graph, model, drawn(graph, seed))
    return verify(model, plan, inputs, rewriter=graph.rewriter)


def _faults(graph: PruneGraph, found: Verification) -> list[str]:
    faults = [f"{graph.form}: {fault}" for fault in found.faults]
    if found.effect < MATTERS:
        faults.append(f"{graph.form}: the removed units do not matter")
    if found.backward is None:
        faults.append(f"{graph.form}: the dense network cannot be trained on these inputs")
    return faults


def drawn(graph: PruneGraph, seed: int) -> dict[str, list[int]]:
    """Random units that stay of every prunable group, from one to all of them."""
    rng = np.random.default_rng(seed)
    keep = {}
    for group in graph.prunable:
        width = int(rng.integers(1, group.size + 1))
        keep[group.name] = np.sort(rng.choice(group.size, width, replace=False)).tolist()
    return keep


def _control(graph: PruneGraph, model: nn.Module, inputs: Any) -> list[str]:
    """The negative control: the smaller network of another choice of units must be told apart."""
    keep = {g.name: list(range((g.size + 1) // 2)) for g in graph.prunable if g.size > 1}
    other = {name: [*units[:-1], units[-1] + 1] for name, units in keep.items()}
    plans = make_plan(graph, model, keep), make_plan(graph, model, other)
    for dtype, rounding in TOLD_APART.items():
        try:
            found = between(model, *plans, inputs, graph, dtype)
        except ModelError:  # float32 may stand in a forward, or be baked into an exported graph
            continue
        return [] if found > rounding else ["the negative control passes"]
    return ["no negative control: it cannot run"]


def between(
    model: nn.Module, plan: Plan, other: Plan, inputs: Any, graph: PruneGraph, dtype: torch.dtype
) -> float:
    """Difference between the smaller network of `plan` and the dense one masked by `other`."""
    dense = Slicer(model)({}).eval().to(dtype)
    inputs = cast(inputs, dtype)
    source = {name: held.tensor for name, held in held_tensors(dense).items()}
    try:
        small = pruned(dense, plan, rewriter=graph.rewriter, source=source).eval()
        before, found = outputs(dense, inputs), outputs(small, inputs)
    except (RuntimeError, TypeError) as error:
        raise ModelError(f"it cannot run in {dtype}: {error}") from error
    with zeroed(dense, other.slices):
        return relative(outputs(dense, inputs), found, before)


def share(graph: PruneGraph) -> float:
    """Share of the elements of convolution and linear weights that lie in prunable groups."""
    free: dict[tuple[str, int], set[int]] = {}
    for group in graph.prunable:
        for axis in group.axes:
            free.setdefault((axis.parameter, axis.dim), set()).update(axis.indices.ravel().tolist())
    assert graph.model is not None
    names = [layer.weight for layer in graph.layers]
    # A linear layer of GPT-2, whose weight is stored the other way round.
    names += [f"{path}.weight" for path, m in graph.model.named_modules() if type(m).__name__ == "Conv1D"]
    weights = {name: graph.fingerprint[name] for name in names}
    total = sum(prod(shape) for shape in weights.values())
    fixed = sum(
        prod(size - len(free.get((name, dim), ())) for dim, size in enumerate(shape))
        for name, shape in weights.items()
    )
    return 1 - fixed / total


def locked(graph: PruneGraph) -> dict[str, str]:
    """The largest locked groups of weights, with their reasons: what to look at when a share is small."""
    layers = {layer.weight for layer in graph.layers}
    groups = sorted((g for g in graph.groups if not g.prunable), key=lambda g: -g.size)
    return {g.name: g.reason for g in groups if g.name.partition(":")[0] in layers}


def _beyond(graph: PruneGraph) -> dict[str, str]:
    """Groups that running the network has locked."""
    return {g.name: g.reason for g in graph.groups if "cannot follow" in g.reason}


def rival(entry: Entry) -> Record:
    """Torch-Pruning as its page shows it: half of every layer but the classifier, by magnitude."""
    import torch_pruning

    model, inputs = prepared(entry).double(), cast(entry.inputs(), torch.float64)
    dense = copy.deepcopy(model)
    before = outputs(dense, inputs)
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        inputs,
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=_classifiers(model, inputs),
    )
    removed = _prune(pruner, model)
    size = sum(p.numel() for p in model.parameters()), sum(p.numel() for p in dense.parameters())
    if not removed or size[0] == size[1]:
        return {"verdict": "nothing pruned"}
    try:
        found = outputs(model, inputs)
    except Exception as error:  # a forward may raise anything
        return {"verdict": "forward fails", "why": f"{type(error).__name__}: {error}"[:300]}
    mixed = _zero(dense, removed)
    difference = relative(outputs(dense, inputs), found, before)
    verdict = "pass" if difference < 1e-6 else "inexact" if mixed else "wrong output"
    return {"verdict": verdict, "difference": difference, "params": size[0] / size[1]}


def _classifiers(model: nn.Module, inputs: Any) -> list[nn.Module]:
    """The layer that runs last, and all linear layers with one output per class."""
    ran: list[nn.Module] = []
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
    hooks = [m.register_forward_hook(lambda module, *_: ran.append(module)) for m in layers]
    outputs(model, inputs)
    for hook in hooks:
        hook.remove()
    return [ran[-1], *(m for m in layers if isinstance(m, nn.Linear) and m.out_features == CLASSES)]


def _prune(pruner: Any, model: nn.Module) -> dict[tuple[str, int], list[int]]:
    """Let it prune; {(tensor name, dimension): dense positions that are produced there and now gone}."""
    graph = pruner.DG
    names = {module: name for name, module in model.named_modules()}
    dims = {graph._param_to_name[u.parameters]: u.pruning_dim for u in graph.unwrapped_parameters}
    left = {
        (name, dim): list(range(size))
        for name, tensor in model.state_dict().items()
        for dim, size in enumerate(tensor.shape)
    }
    removed: dict[tuple[str, int], list[int]] = {}
    for group in pruner.step(interactive=True):
        for dep, indices in group:
            target = dep.target.module
            places: list[tuple[str, int]] = []
            if isinstance(target, nn.Parameter):
                places = [(graph._param_to_name[target], dims[graph._param_to_name[target]])]
            elif target in names and graph.is_out_channel_pruning_fn(dep.handler):
                places = [(f"{names[target]}.{key}", dim) for key, dim in _produced(target)]
            for place in places:
                now = left[place]  # positions move as earlier groups are cut out
                gone = {int(i) for i in indices}
                removed.setdefault(place, []).extend(now[i] for i in gone)
                left[place] = [p for i, p in enumerate(now) if i not in gone]
        group.prune()
    return removed


def _produced(module: nn.Module) -> list[tuple[str, int]]:
    """Where the channels that a module emits lie in its tensors."""
    inner = isinstance(module, (nn.Embedding, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
    return [
        (key, int(inner and key == "weight"))
        for key in ("weight", "bias")
        if isinstance(getattr(module, key, None), Tensor)
    ]


@torch.no_grad()
def _zero(dense: nn.Module, removed: Mapping[tuple[str, int], Sequence[int]]) -> bool:
    """Zero the removed channels where they are produced, scaled and shifted.

    Returns:
        Whether a normalization runs over them, so that no zeros give the outputs of the smaller network.
    """
    state = dense.state_dict(keep_vars=True)
    for (name, dim), positions in removed.items():
        state[name].index_fill_(dim, torch.tensor(positions), 0)
    owners = {name.rpartition(".")[0] for name, _ in removed}
    modules = dict(dense.named_modules())
    return any("Norm" in type(modules[o]).__name__ and not isinstance(modules[o], NORMS) for o in owners)
