"""Sets of united ids become units, units that are alike become groups."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoprune.graph.settle import ids_along
from autoprune.graph.tracer import Tracer
from autoprune.graph.types import Axis, Group
from autoprune.graph.unionfind import Ids

AxisKey = tuple[str, int]
Remarks = dict[int, dict[str, None]]


@dataclass(frozen=True)
class Places:
    """Where every unit lies: runs of positions of one unit along one axis, ordered by unit and axis.

    Attributes:
        keys: The axes, (tensor name, dim); runs name them by number.
        positions: All positions, run after run.
        starts: Where each run starts in `positions`.
        counts: Length of each run.
        axes: Number of each run's axis.
        units: Root of a unit -> its runs, as a slice.
    """

    keys: Sequence[AxisKey]
    positions: Ids
    starts: NDArray[np.intp]
    counts: Ids
    axes: Ids
    units: dict[int, slice]

    def indices(self, roots: Sequence[int], at: int) -> Ids:
        """Positions of the `at`-th run of each unit, all of one length; shape (units, length)."""
        runs = np.array([self.units[root].start + at for root in roots])
        length = int(self.counts[runs[0]])
        found: Ids = self.positions[self.starts[runs][:, None] + np.arange(length)]
        return found


@dataclass(frozen=True)
class _Draft:
    """A group before it has a name: its units, the axis that names it and where that comes in the network."""

    roots: list[int]
    leader: int
    rank: tuple[int, int]
    first: int


def bundle(tracer: Tracer) -> tuple[list[Group], dict[str, list[int]]]:
    """All groups in network order.

    Returns:
        The groups, and for every prunable one the representatives of its units, in order.
    """
    places = _places(tracer)
    reasons, notes = _spread(tracer, tracer.locks), _spread(tracer, tracer.notes)
    _keep_parts(tracer, places, reasons)
    drafts = [draft for roots in _alike(tracer, places, reasons) if (draft := _draft(tracer, places, roots))]
    drafts.sort(key=lambda draft: (draft.rank, draft.first))
    groups: list[Group] = []
    prunable: dict[str, list[int]] = {}
    used: dict[str, int] = {}
    for draft in drafts:
        producer = places.keys[int(places.axes[places.units[draft.roots[0]].start + draft.leader])][0]
        count = used[producer] = used.get(producer, -1) + 1
        name = f"{producer}:{count}" if count else producer
        group = _group(name, places, draft.roots, reasons, notes)
        groups.append(group)
        if group.prunable:
            prunable[name] = draft.roots
    return groups, prunable


def _places(tracer: Tracer) -> Places:
    """Sort all positions of all parameters and buffers by unit, axis and position."""
    keys = [key for key in tracer.axes if key not in tracer.hidden]
    sizes = [len(tracer.axes[key]) for key in keys]
    roots = tracer.find(np.concatenate([tracer.axes[key] for key in keys] or [np.empty(0, dtype=np.int64)]))
    axes = np.repeat(np.arange(len(keys)), sizes)
    positions = np.concatenate([np.arange(size) for size in sizes] or [np.empty(0, dtype=np.int64)])
    order = np.lexsort((positions, axes, roots))
    roots, axes, positions = roots[order], axes[order], positions[order]
    starts = _changes(roots, axes)
    counts = np.diff(np.append(starts, len(roots)))
    owners = roots[starts]
    firsts = _changes(owners)
    ends = np.append(firsts[1:], len(owners))
    units = {
        root: slice(first, end)
        for root, first, end in zip(owners[firsts].tolist(), firsts.tolist(), ends.tolist(), strict=True)
    }
    return Places(keys, positions, starts, counts, axes[starts], units)


def _changes(*columns: Ids) -> NDArray[np.intp]:
    """Where a run of equal rows starts."""
    changed = np.zeros(len(columns[0]), dtype=bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(changed)


def _alike(tracer: Tracer, places: Places, reasons: Remarks) -> Iterable[list[int]]:
    """Units that lie along the same axes, count the same everywhere, and are all locked or all free."""
    elsewhere: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, ids in enumerate(_cost_dimensions(tracer)):
        for root, count in zip(*(a.tolist() for a in np.unique(ids, return_counts=True)), strict=True):
            elsewhere[root].append((number, count))
    bundles: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for root, runs in places.units.items():
        lies = places.axes[runs].tobytes(), places.counts[runs].tobytes()
        bundles[lies, tuple(elsewhere.get(root, ())), root in reasons].append(root)
    return bundles.values()


def _keep_parts(tracer: Tracer, places: Places, reasons: Remarks) -> None:
    """Lock one unit of every part that is cut out of a dimension and could become empty.

    A part keeps at least one unit if it holds a locked one, or all units of some group.
    """
    bundles = list(_alike(tracer, places, reasons)) if tracer.parts else []
    owner = {root: number for number, roots in enumerate(bundles) for root in roots}
    left = [len(roots) for roots in bundles]
    for part in tracer.parts:
        roots = np.unique(tracer.find(part)).tolist()
        if any(root in reasons for root in roots):
            continue
        inside: dict[int, int] = defaultdict(int)
        for root in roots:
            inside[owner[root]] += 1
        if not any(count == left[number] for number, count in inside.items()):
            left[owner[roots[0]]] -= 1
            reasons.setdefault(roots[0], {})["keeps a part that is cut out from becoming empty"] = None


def _cost_dimensions(tracer: Tracer) -> list[Ids]:
    """Ids along every dimension that a cost depends on and that is no parameter's own."""
    found: dict[tuple[int, int], Ids] = {}
    factors = [factor for cost in tracer.costs for factor in cost.factors]
    for use in tracer.layers.values():
        factors += [use.inputs, use.outputs]
    for factor in factors:
        if not factor.value.parameter:
            for label in factor.value.along(factor.dim):
                ids = ids_along(tracer, label, factor.dim)
                if ids is not None:
                    found[id(factor.value), factor.dim] = ids
                    break
    distinct = {ids.tobytes(): ids for ids in found.values()}
    return list(distinct.values())


def _draft(tracer: Tracer, places: Places, roots: list[int]) -> _Draft | None:
    """Order the units of a group by the axis that names it: the first producer, else what is read first.

    None where nothing produces the units and a layer reads them: the input side of a layer that reads
    something unlabeled holds no channels of the network.
    """
    axes = places.axes[places.units[roots[0]]].tolist()
    ranks = []
    for at, axis in enumerate(axes):
        key = places.keys[axis]
        if key in tracer.producers:
            ranks.append((0, tracer.producers[key], key, at))
        else:
            ranks.append((1, tracer.touched.get(key[0], tracer.time), key, at))
    consumed, time, key, leader = min(ranks)
    if consumed and key[0] in tracer.layers:
        return None
    firsts = places.indices(roots, leader)[:, 0]
    order = np.argsort(firsts, kind="stable")
    return _Draft([roots[i] for i in order.tolist()], leader, (time, consumed), int(firsts.min()))


def _spread(tracer: Tracer, remarks: Iterable[tuple[Ids, str]]) -> Remarks:
    """Root of a unit -> what was remarked about it, in order."""
    found: Remarks = defaultdict(dict)
    for ids, text in remarks:
        for root in np.unique(tracer.find(ids)).tolist():
            found[root][text] = None
    return dict(found)


def _group(name: str, places: Places, roots: list[int], reasons: Remarks, notes: Remarks) -> Group:
    """A group with its axes, and the reasons and notes of all its units."""
    axes = tuple(
        Axis(places.keys[axis][0], places.keys[axis][1], places.indices(roots, at))
        for at, axis in enumerate(places.axes[places.units[roots[0]]].tolist())
    )
    why = dict.fromkeys(text for root in roots for text in reasons.get(root, ()))
    if len(roots) == 1 and not why:
        why["it has a single unit"] = None
    said = dict.fromkeys(text for root in roots for text in notes.get(root, ()))
    return Group(name, len(roots), axes, "; ".join(why), "; ".join(said))
