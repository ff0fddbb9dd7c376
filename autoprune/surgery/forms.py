"""Which of its two forms a pruned network takes, decided by running both.

A pruned network is the model's own class with smaller tensors and corrected attributes ("class"), or the
exported graph with its baked sizes rewritten ("graph"). The rule, in this order:

1. "class" if the model's own class, sliced at random widths of all prunable groups, computes what the dense
   network with the removed units zeroed computes, and still runs in train mode. Registered adapters
   (`register_adapter`) correct its attributes.
2. Else "graph" if the rewritten graph computes that, also at other batch sizes than the one of the example
   inputs (where the dense model can run on these). Not if the class fails in train mode only (an auxiliary
   head): the graph holds no code for that mode, it would only hide the failure.
3. Else "class" with the groups locked that its forward cannot follow, found by halving.
4. If that leaves nothing, "graph" with the groups locked that it cannot follow. Here, and where "graph" is
   asked for, the networks may take batches of the traced size only; `form_reason` says so.

A model of which the plain trace can prune nothing, but a rewritten graph something, takes the form "graph".
All runs are on the example inputs, in float64 where the model allows it, and deterministic.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import torch
from torch import nn

from autoprune.errors import ArgumentError, ModelError, TraceError
from autoprune.graph import PruneGraph
from autoprune.graph.interface import grown
from autoprune.graph.rewriter import Rewriter, make_rewriter
from autoprune.surgery.changes import Surgery
from autoprune.surgery.trial import TRAINING, Keep, Trial, draws, make_trial

logger = logging.getLogger(__name__)

Choice: TypeAlias = Literal["auto", "class", "graph"]
Narrow: TypeAlias = Callable[[PruneGraph], PruneGraph]

_OWN = "the model's own class, sliced, computes what the masked network computes"


def proven(
    graph: PruneGraph, *, form: Choice = "auto", narrow: Narrow | None = None, seed: int = 0
) -> PruneGraph:
    """Decide which form pruned networks take, and lock what neither form can follow.

    Costs a few forward passes of the example inputs; two exports more where the model's own class fails.

    Args:
        graph: From `trace`. One that was made by hand, or that was decided on before, is returned as it is.
        form: "auto" follows the rule of this module; "class" and "graph" take this one and lock what it
            cannot follow. "graph" may leave more prunable: channels cut at constant indices, or shuffled.
        narrow: Locks what the user wants dense; applied to the groups of either form before they are tried.
        seed: Of the random widths.

    Returns:
        The graph with `form` and `form_reason` set; the groups may be others where the form is "graph".

    Raises:
        ArgumentError: An unknown `form`.
        ModelError: The dense network cannot run on the example inputs.
        TraceError: `form` is "graph" and the network cannot be exported again.
    """
    _check_form(form)
    narrow = narrow or (lambda g: g)
    # Nothing to prune is no reason yet to refuse the user's patterns: the rewritten graph may have more.
    narrowed = narrow(graph) if graph.prunable else graph
    if graph.model is None or graph.inputs is None or graph.form_reason:
        return narrowed
    decision = _Decision(narrowed, graph.model, narrow, seed)
    found = {"auto": decision.best, "class": decision.own, "graph": decision.rewritten}[form]()
    logger.info("pruned networks take the form '%s': %s", found.form, found.form_reason)
    return found


def proven_for(graph: PruneGraph, keep: Keep, *, form: Choice = "auto") -> PruneGraph:
    """The form of one pruned network, decided by running it; nothing is locked.

    Args:
        graph: From `trace`, or from `proven`, which has decided already.
        keep: Unit indices that stay, by group name; missing groups stay whole.
        form: "class" and "graph" take this one, "auto" the first of them that computes what it should.

    Raises:
        ArgumentError: An unknown `form`, or another than was decided on; an unknown or locked group, units
            that do not exist, or a network that was changed since the trace.
        ModelError: No form computes what the masked network computes; the message says what happens.
    """
    _check_form(form)
    if not isinstance(keep, Mapping):
        raise ArgumentError(f"keep must map group names to unit indices, got {type(keep).__name__}")
    slices = graph.slices(keep)
    if graph.form_reason and form not in ("auto", graph.form):
        raise ArgumentError(f"form must be '{graph.form}', as it was decided for this graph, got '{form}'")
    if graph.model is None or graph.inputs is None or graph.form_reason:
        return graph
    if not slices and form != "graph":
        return graph
    Surgery(graph, graph.model)
    trial = make_trial(graph.model, graph.inputs)
    fault = ""
    if form != "graph":
        fault = trial.of_class(graph, keep)
        if not fault:
            return replace(graph, form_reason=_OWN)
        if form == "class":
            raise _fails(f"its own class fails ({fault})")
    rewriter, other = _other(graph, graph.model, keep, trial)
    if other:
        start = (
            f"its own class fails ({fault}) and so does the rewritten graph"
            if fault
            else "the rewritten graph fails"
        )
        raise _fails(f"{start} ({other})")
    reason = _failed(fault, rewriter) if fault else "asked for" + _limit(rewriter)
    return replace(graph, form="graph", form_reason=reason, rewriter=rewriter)


def _fails(what: str) -> ModelError:
    return ModelError(
        f"the pruned network must compute what the masked one computes, but {what}; "
        "keep the groups concerned whole"
    )


def _other(graph: PruneGraph, model: nn.Module, keep: Keep, trial: Trial) -> tuple[Rewriter, str]:
    """The rewriter of a graph, and why it cannot make this network; empty if it can."""
    rewriter = make_rewriter(model, graph.inputs, heads=graph.heads, inexact=graph.inexact)
    try:
        same = _plain(rewriter.graph.slices(keep)) == _plain(graph.slices(keep))
    except ArgumentError:
        same = False
    return rewriter, _Graph(model, rewriter, trial).fault([keep]) if same else "its groups are others"


def _check_form(form: str) -> None:
    if form not in ("auto", "class", "graph"):
        raise ArgumentError(f"form must be 'auto', 'class' or 'graph', got {form!r}")


class _Graph:
    """Trials of rewritten graphs, also of a batch size that none of the exports saw."""

    def __init__(self, model: nn.Module, rewriter: Rewriter, trial: Trial, *, any_batch: bool = True) -> None:
        self._model, self._rewriter, self._any_batch = model, rewriter, any_batch
        self._trials: list[Callable[[], Trial]] = [
            lambda: trial,
            lambda: Trial(model, rewriter.graph.inputs),
        ]

    def fault(self, keeps: Sequence[Keep]) -> str:
        """What goes wrong in the first of the trials that runs through, or in the last."""
        fault = ""
        while self._trials:  # types that the forward names may keep the graph from running in float64
            trial = self._trials[0]()
            fault = next(filter(None, (trial.of_graph(self._rewriter, keep) for keep in keeps)), "")
            if not fault:
                return self._larger(keeps[0], trial.dtype)
            if len(self._trials) == 1:
                return fault
            del self._trials[0]
        return fault

    def _larger(self, keep: Keep, dtype: torch.dtype | None) -> str:
        try:
            larger = Trial(self._model, grown(self._rewriter.graph.inputs, 2), dtype=dtype)
        except ModelError:
            return ""  # the model itself takes one batch size only
        if not self._rewriter.any_batch and not self._any_batch:
            return ""
        if not self._rewriter.any_batch:
            return "the exported graph takes batches of the traced size only"
        return larger.of_graph(self._rewriter, keep)


class _Decision:
    def __init__(self, graph: PruneGraph, model: nn.Module, narrow: Narrow, seed: int) -> None:
        self._graph, self._model, self._narrow, self._seed = graph, model, narrow, seed
        self._trial = make_trial(model, graph.inputs, seed)

    def best(self) -> PruneGraph:
        if not self._graph.prunable:
            return self._instead_of_nothing()
        fault = self._class_fault(draws(self._graph, self._seed))
        if not fault:
            return replace(self._graph, form_reason=_OWN)
        if fault.startswith(TRAINING) and (own := self.own()).prunable:
            return own
        try:
            rewriter, graph = self._rewriter()
        except TraceError as error:
            logger.info("the model cannot be exported again: %s", error)
            return self.own()
        if not (other := self._graph_fault(rewriter, draws(graph, self._seed))):
            return _as_graph(graph, rewriter, _failed(fault, rewriter))
        logger.info("the rewritten graph fails too: %s", other)
        found = self.own()
        return found if found.prunable else self._with_locks(graph, rewriter, _failed(fault, rewriter))

    def own(self) -> PruneGraph:
        """The model's own class, with groups locked that it cannot follow."""
        locks = self._locks(self._graph, self._class_fault, "the model's own forward cannot follow")
        reason = f"{_OWN}, but for {len(locks)} locked groups" if locks else _OWN
        return replace(self._graph.locked(locks), form_reason=reason)

    def rewritten(self) -> PruneGraph:
        """The rewritten graph, with groups locked that it cannot follow."""
        rewriter, graph = self._rewriter()
        return self._with_locks(graph, rewriter, "asked for" + _limit(rewriter))

    def _instead_of_nothing(self) -> PruneGraph:
        nothing = replace(self._graph, form_reason="nothing can be pruned")
        try:
            rewriter, graph = self._rewriter()
        except (TraceError, ArgumentError):
            return nothing
        if not graph.prunable or self._graph_fault(rewriter, draws(graph, self._seed)):
            return nothing
        return _as_graph(graph, rewriter, "of the model's own class nothing can be pruned")

    def _with_locks(self, graph: PruneGraph, rewriter: Rewriter, reason: str) -> PruneGraph:
        locks = self._locks(
            graph,
            lambda keeps: self._graph_fault(rewriter, keeps, any_batch=False),
            "the rewritten graph cannot follow",
        )
        return _as_graph(graph.locked(locks), rewriter, reason)

    def _rewriter(self) -> tuple[Rewriter, PruneGraph]:
        graph = self._graph
        rewriter = make_rewriter(self._model, graph.inputs, heads=graph.heads, inexact=graph.inexact)
        return rewriter, self._narrow(rewriter.graph)

    def _class_fault(self, keeps: Sequence[Keep]) -> str:
        return next(filter(None, (self._trial.of_class(self._graph, keep) for keep in keeps)), "")

    def _graph_fault(self, rewriter: Rewriter, keeps: Sequence[Keep], *, any_batch: bool = True) -> str:
        return _Graph(self._model, rewriter, self._trial, any_batch=any_batch).fault(keeps)

    def _locks(self, graph: PruneGraph, fault: Callable[[Sequence[Keep]], str], words: str) -> dict[str, str]:
        """Groups to lock with reasons: what remains, pruned together, works."""
        keeps = draws(graph, self._seed)
        good: list[str] = []
        bad: dict[str, str] = {}

        def add(names: list[str]) -> None:
            chosen = {*good, *names}
            found = fault([{name: units for name, units in keep.items() if name in chosen} for keep in keeps])
            if not found:
                good.extend(names)
            elif len(names) == 1:
                bad[names[0]] = f"{words}: {found}"
            else:
                add(names[: len(names) // 2])
                add(names[len(names) // 2 :])

        names = list(dict.fromkeys(name for keep in keeps for name in keep))
        if names:
            add(names)
        return bad


def _as_graph(graph: PruneGraph, rewriter: Rewriter, reason: str) -> PruneGraph:
    return replace(graph, form="graph", form_reason=reason, rewriter=rewriter)


def _failed(fault: str, rewriter: Rewriter) -> str:
    return f"its own class cannot follow ({fault}){_limit(rewriter)}"


def _limit(rewriter: Rewriter) -> str:
    return "" if rewriter.any_batch else "; batches must have the traced size"


def _plain(slices: object) -> dict[str, dict[int, list[int]]]:
    assert isinstance(slices, dict)
    return {name: {dim: list(map(int, s)) for dim, s in dims.items()} for name, dims in slices.items()}
