"""From a network and a budget to the task of AMC's fine-grained mode."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from autoprune.budget import BoundBudget, Budget
from autoprune.calibration import Calibration
from autoprune.criteria import Criterion
from autoprune.criteria.scoring import weight_scores
from autoprune.errors import ArgumentError
from autoprune.finegrained.costs import Tabulated
from autoprune.finegrained.evaluator import MaskEvaluator
from autoprune.finegrained.graph import layer_graph
from autoprune.finegrained.levels import Levels
from autoprune.graph import Layer, PruneGraph
from autoprune.masks import Granularity
from autoprune.masks import granularity as named
from autoprune.score import Score
from autoprune.task import Task


@dataclass(frozen=True, eq=False)
class FineGrained:
    """A fine-grained pruning problem: `PruningEnv(problem.task, problem.evaluate)` searches it.

    Attributes:
        task: One group per layer, named after its weight; the width is a density, or the N of N:M.
        evaluate: Masks a copy of the network and scores it; `evaluate.masks(widths)` are the masks.
    """

    task: Task
    evaluate: MaskEvaluator


def fine_grained(
    graph: PruneGraph,
    budget: str | Budget,
    score: Score,
    *,
    granularity: str | Granularity = "weight",
    criterion: str | Criterion = "l1",
    calibration: Calibration | None = None,
    levels: int = 64,
    lower: float = 0.05,
    exclude: Collection[str] = (),
    bn_inputs: Iterable[Any] | None = None,
    batches: Iterable[Any] | None = None,
    seed: int = 0,
) -> FineGrained:
    """Set up a search over the sparsity of every layer, at weight, N:M or any other granularity of masks.

    The same environment, allocations and agents as for channels walk the layers (AMC, He et al. 2018,
    arXiv:1802.03494, section 3.1, fine-grained pruning). MACs and parameters count weights that stay; they
    are counted on the masks themselves, so that a budget holds exactly.

        graph = autoprune.trace(model, inputs)
        problem = fine_grained(graph, "params=20%", KL(SearchImages(model, images)), granularity="n:4")
        env = PruningEnv(problem.task, problem.evaluate)

    The curve of a layer is the share of its energy that its mask removes: squared weights, each times the
    mean square of its input where `calibration` has the statistic `input_square`.

    Args:
        graph: Of the network, which it must hold (`graph.model`).
        budget: On `macs` and `params` of the weights that stay.
        score: What a candidate is worth.
        granularity: What stays or goes as a whole; of an N:M pattern the search chooses N ("n:4").
        criterion: Scores single weights; a name or an object.
        calibration: With the statistics that the criterion needs.
        levels: How many densities there are, but for "n:M", which has M.
        lower: Smallest share of its weights that a layer keeps.
        exclude: Names of weights that stay whole.
        bn_inputs: Batches for batch-norm statistics, see `MaskEvaluator`.
        batches: For criteria that run the network.
        seed: Of criteria that draw.

    Raises:
        ArgumentError: A graph without its network, an unknown weight in `exclude`, or a criterion that scores
            no single weights.
        BudgetError: The budget cannot be met.
    """
    model = graph.model
    if model is None:
        raise ArgumentError("graph must come from autoprune.trace(model, inputs), this one has no network")
    scores = weight_scores(graph, model, criterion, calibration, seed, batches)
    for name in exclude:
        if name not in scores:
            raise ArgumentError(f"exclude must name weights of layers, got '{name}'; see graph.layers")
    chosen = named(granularity) if isinstance(granularity, str) else granularity
    found = {
        name: Levels(score.cpu(), chosen, levels) for name, score in scores.items() if name not in exclude
    }
    layers = layer_graph(graph, found)
    bound = _bind(Budget.parse(budget) if isinstance(budget, str) else budget, graph, layers, found)
    energies = _energies(model, found, calibration)
    curves = {name: _curve(found[name], energies[name]) for name in found}
    return FineGrained(
        Task(layers, bound, curves, lower=lower), MaskEvaluator(model, found, score, bn_inputs)
    )


def _bind(budget: Budget, graph: PruneGraph, layers: PruneGraph, levels: Mapping[str, Levels]) -> BoundBudget:
    """A budget on the weights that stay; what has no mask counts whole."""
    weights = {layer.weight: layer for layer in graph.layers}
    kept = {group.name: levels[group.name].kept for group in layers.groups}
    macs = {name: kept[name] * _uses(weights[name], graph) for name in kept}
    tables = {"macs": macs, "params": kept}
    costs = {}
    for name, dense in (("macs", graph.macs()), ("params", graph.params())):
        rest = dense - sum(int(table[-1]) for table in tables[name].values())
        unit = "MACs" if name == "macs" else "parameters"
        costs[name] = Tabulated(name, unit, tuple(tables[name].values()), rest)
    return budget.bind(layers, costs)


def _uses(layer: Layer, graph: PruneGraph) -> int:
    """Multiplications per weight: one at every output position, or every input position if transposed."""
    if layer.kind != "conv_transposed":
        return layer.positions
    dense = graph.widths()
    total = sum(term(dense) for term in graph.mac_terms if term.owner == layer.name)
    return total // math.prod(graph.fingerprint[layer.weight])


def _energies(
    model: nn.Module, levels: Mapping[str, Levels], calibration: Calibration | None
) -> dict[str, Tensor]:
    squares = calibration.statistics.get("input_square", {}) if calibration is not None else {}
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: _energy(tensors[name], squares.get(name)) for name in levels}


def _energy(weight: Tensor, square: Tensor | None) -> Tensor:
    energy = weight.detach().double().cpu().square()
    return energy if square is None else energy * square


def _curve(levels: Levels, energy: Tensor) -> NDArray[np.float64]:
    total = max(float(energy.sum()), 1e-300)
    kept = levels.sums(lambda mask: float(energy[mask].sum()))
    return np.clip(1 - kept / total, 0, 1)
