import copy

import pytest
import torch
from torch import nn

from autoprune.errors import ArgumentError, ModelError
from autoprune.graph import trace
from autoprune.surgery import masked, zeroed
from tests.surgery.nets import CASES, random_keep


def bits(model: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(model.state_dict())


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", CASES)
def test_exactly_the_removed_members_are_zero_and_all_comes_back(name: str) -> None:
    model = CASES[name].model()
    graph = trace(model, CASES[name].inputs())
    keep = random_keep(graph, 3)
    before = bits(model)
    with masked(model, graph, keep):
        inside = bits(model)
    assert same(before, model.state_dict())
    expected = copy.deepcopy(before)
    aliases = {id(t): n for n, t in reversed(model.state_dict(keep_vars=True).items())}
    for group in graph.prunable:
        for unit in set(range(group.size)) - set(keep[group.name]):
            for member in group.members[unit]:
                for index in member.indices:
                    expected[member.parameter].select(member.dim, index).zero_()
    for alias, tensor in model.state_dict(keep_vars=True).items():
        expected[alias] = expected[aliases[id(tensor)]]
    assert same(inside, expected) and not same(inside, before)


def test_it_comes_back_after_an_error_too() -> None:
    model = CASES["plain"].model()
    before = bits(model)
    with pytest.raises(RuntimeError, match="stop"), zeroed(model, {"0.weight": {0: [1]}}):
        assert model[0].weight.count_nonzero() == 27
        raise RuntimeError("stop")
    assert same(before, model.state_dict())
    with (
        pytest.raises(ModelError, match="nowhere"),
        zeroed(model, {"0.weight": {0: [1]}, "nowhere": {0: [1]}}),
    ):
        pass
    assert same(before, model.state_dict())


def test_locked_and_unknown_groups_are_refused() -> None:
    model = CASES["plain"].model()
    graph = trace(model, CASES["plain"].inputs())
    locked = next(g for g in graph.groups if not g.prunable)
    with pytest.raises(ArgumentError, match="locked"), masked(model, graph, {locked.name: [0]}):
        pass
    with pytest.raises(ArgumentError, match="did you mean"), masked(model, graph, {"0.weigth": [0]}):
        pass
