"""What was found beside the dense network and the allocations that need no search, measured alike."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import autoprune
from autoprune.cli.timing import milliseconds
from autoprune.errors import DataError

if TYPE_CHECKING:
    from torch import nn

    from autoprune.data import Splits
    from autoprune.run.result import Measured, SearchResult

RIVALS = ("uniform", "greedy")


@dataclass(frozen=True, eq=False)
class Contender:
    """A network and its row.

    Attributes:
        name: As shown.
        model: The network.
        measured: Its widths, costs and search score.
    """

    name: str
    model: "nn.Module"
    measured: "Measured"


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes:
        name: As shown.
        costs: MACs and parameters, and what else the budget names; a latency as measured here, if it was.
        score: Score on the search images, higher is better.
        before: Share of test images that are right before fine-tuning, None if it cannot be known.
        after: The same after it, None without fine-tuning.
        milliseconds: Measured time of one forward pass, None where it was not taken.
    """

    name: str
    costs: Mapping[str, float]
    score: float
    before: float | None
    after: float | None
    milliseconds: float | None = None


def contenders(
    result: "SearchResult",
    dense: "nn.Module",
    example_inputs: Any,
    data: "Splits",
    settings: Mapping[str, Any],
    stage: Callable[[str], None],
) -> list[Contender]:
    """The dense network, uniform and greedy, each made with all steps of the search, and what was found.

    All searches read the latency table of the first, if it has one.

    Args:
        result: Of the search.
        dense: The network that was searched.
        example_inputs: As the search had them.
        data: As the search had it.
        settings: The keyword arguments of the search that shape a candidate, whichever agent chooses it.
        stage: Told what is being made.
    """
    found = [Contender("dense", dense, result.dense)]
    latency = kept_table(result)
    given = {} if latency is None else {"latency_table": latency, "allow_foreign_table": True}
    further: dict[str, Any] = {"episodes": 1, "baselines": (), "run_dir": None, **given}
    for name in RIVALS:
        stage(f"making {name}")
        rival = autoprune.search(dense, example_inputs, data, **settings, agent=name, **further)
        found.append(Contender(name, rival.model, rival.found))
    return [*found, Contender("found", result.model, result.found)]


def kept_table(result: "SearchResult") -> Path | None:
    """The latency table in the folder of a search, if it has one."""
    from autoprune.run.device import TABLE_NAME

    path = None if result.run_dir is None else result.run_dir / TABLE_NAME
    return path if path is not None and path.exists() else None


def compare(
    networks: Iterable[Contender],
    data: Any,
    epochs: int,
    device: str | None,
    stage: Callable[[str], None],
    step: Callable[[int, int], None] = lambda done, total: None,
    *,
    example_inputs: Any = None,
    latency: Path | None = None,
) -> tuple[list[Row], "dict[str, nn.Module]"]:
    """Time every network, measure it on the test set, fine-tune a copy of it, and measure that.

    Args:
        networks: Untouched.
        data: `train` is fine-tuned on, `test` (if there is one) measured on.
        epochs: Of the fine-tuning, the same for all; 0 leaves it out.
        device: Where to; None stays where the networks are.
        stage: Told what is being done.
        step: Told how many epochs of how many are done, over all networks; 0 before the first.
        example_inputs: What the networks are timed on; None takes the first image of `data.train`.
        latency: A latency table; the networks are timed as its layers were, if that is possible here.

    Returns:
        The rows, and the fine-tuned networks by name (none without fine-tuning).
    """
    rivals = list(networks)
    models = [copy.deepcopy(network.model).to(device) for network in rivals]
    stage("timing the networks")
    times = milliseconds(models, example_inputs, data, latency) or [None] * len(models)
    rows, tuned, total = [], {}, epochs * len(models)
    if epochs:
        step(0, total)
    for i, (network, model) in enumerate(zip(rivals, models, strict=True)):
        stage(f"testing {network.name}")
        before, after = accuracy_on_test(model, data), None
        if epochs:
            stage(f"fine-tuning {network.name}")
            counted = partial(_count, step, i * epochs, total)
            autoprune.finetune(model, data.train, epochs, on_epoch=counted)
            after = accuracy_on_test(model, data)
            tuned[network.name] = model
        measured = network.measured
        score = measured.evaluation.score
        costs = dict(measured.costs)
        if "latency" in costs:
            costs["latency"] = times[i] or costs["latency"]
        rows.append(Row(network.name, costs, score, before, after, times[i]))
    return rows, tuned


def _count(step: Callable[[int, int], None], before: int, total: int, epoch: int, loss: float) -> None:
    step(before + epoch, total)


def accuracy_on_test(model: "nn.Module", data: Any) -> float | None:
    """Accuracy (0 to 1) on `data.test`; None if there is no such loader, or it has no labels."""
    loader = getattr(data, "test", None)
    if loader is None:
        return None
    try:
        return autoprune.accuracy(model, loader)
    except DataError:
        return None
