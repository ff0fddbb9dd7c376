import threading
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils import parametrizations

from autoprune.errors import ModelError
from autoprune.surgery import Slicer
from autoprune.surgery.shell import empty_copy
from autoprune.surgery.tensors import held_tensors

SLICES = {"0.weight": {0: [0, 2, 5]}, "0.bias": {0: [0, 2, 5]}, "2.weight": {1: [0, 2, 5]}}
MODULES = {"0": {"out_features": 3}, "2": {"in_features": 3}}


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


def by_hand(model: nn.Sequential, x: Tensor, stays: list[int]) -> Tensor:
    first, last = model[0], model[2]
    return F.linear(
        F.relu(F.linear(x, first.weight[stays], first.bias[stays])), last.weight[:, stays], last.bias
    )


def test_what_stays_is_selected() -> None:
    model, x = small_net(), torch.randn(3, 4)
    small = Slicer(model)(SLICES, MODULES)
    assert torch.equal(small(x), by_hand(model, x, [0, 2, 5]))
    assert repr(small[0]) == "Linear(in_features=4, out_features=3, bias=True)"


def test_every_call_starts_from_the_dense_weights_and_attributes() -> None:
    model, x = small_net(), torch.randn(3, 4)
    slicer = Slicer(model)
    first = slicer(SLICES, MODULES)
    with torch.no_grad():
        for tensor in first.parameters():
            tensor.fill_(9)
    first[0] = nn.Linear(1, 1)  # what a careless user of the shell may do to it
    first.eval()
    again = slicer({name: {dim: [1, 3] for dim in dims} for name, dims in SLICES.items()}, {})
    assert again is first
    dense = Slicer(model)({})
    assert torch.equal(dense(x), model(x)) and repr(dense) == repr(model)
    assert torch.equal(slicer(SLICES, MODULES)[2].weight, model[2].weight[:, [0, 2, 5]])
    slicer({}, {})
    assert slicer._modules["0"].out_features == 6
    assert slicer._modules["0"].training


def test_weights_are_read_anew_by_every_call() -> None:
    model, x = small_net(), torch.randn(3, 4)
    slicer = Slicer(model)
    slicer(SLICES, MODULES)
    with torch.no_grad():
        model[0].weight.add_(1)
    assert torch.equal(slicer(SLICES, MODULES)(x), by_hand(model, x, [0, 2, 5]))


def test_gradients_of_an_earlier_use_are_gone() -> None:
    slicer = Slicer(small_net())
    slicer(SLICES, MODULES)(torch.randn(3, 4)).sum().backward()
    assert all(p.grad is None for p in slicer({}).parameters())


def test_overrides_win_and_are_copied() -> None:
    model = small_net()
    override = torch.randn(2, 3, dtype=torch.float64)
    small = Slicer(model)(SLICES, MODULES, {"2.weight": override})
    assert torch.equal(small[2].weight, override.float())
    override.zero_()
    assert small[2].weight.abs().min() > 0
    same_type = torch.randn(2)
    small = Slicer(model)(SLICES, MODULES, {"2.bias": same_type})
    same_type.zero_()
    assert small[2].bias.abs().min() > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (({"nowhere": {0: [0]}},), "no tensor 'nowhere'"),
        (({}, None, {"nowhere": torch.zeros(1)}), "no tensor 'nowhere'"),
        ((SLICES, MODULES, {"2.weight": torch.zeros(2, 6)}), "(2, 3), got (2, 6)"),
        (({}, {"0": {"units": 3}}), "no attribute 'units' at '0'"),
        (({}, {"7": {"in_features": 3}}), "'7'"),
    ],
)
def test_what_does_not_exist_is_refused(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ModelError) as error:
        Slicer(small_net())(*arguments)
    assert words in str(error.value)


def test_the_structure_is_copied_without_weights() -> None:
    model = nn.Sequential(nn.Linear(100, 100), nn.BatchNorm1d(100))
    held = held_tensors(model)
    shell, empty = empty_copy(model, held)
    assert list(empty) == list(held) == [n for n in model.state_dict()]
    assert all(t.numel() == 0 for t in (*shell.parameters(), *shell.buffers()))


def test_kinds_of_tensors() -> None:
    class Marked(nn.Parameter):
        pass

    model = small_net()
    model[0].weight = Marked(torch.randn(6, 4))
    model[0].weight.no_decay = True
    model.register_buffer("table", torch.arange(3), persistent=False)
    model.register_parameter("nothing", None)
    small = Slicer(model)(SLICES, MODULES)
    assert type(small[0].weight) is Marked and small[0].weight.no_decay
    assert torch.equal(small.table, torch.arange(3)) and "table" not in small.state_dict()
    assert small.nothing is None


class Awkward(nn.Module):
    """Refuses to be deep-copied, as networks with locks, caches or handles do."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 6), nn.Linear(6, 2)])
        self.again = [*self.layers]
        self.lock = threading.Lock()
        self.cache = self.layers[0].weight * 2
        self.seen: list[int] = []
        self.layers[0].register_forward_hook(self.look)

    def look(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.seen.append(output.shape[-1])

    def __deepcopy__(self, memo: dict[int, Any]) -> "Awkward":
        raise RuntimeError("no copies")

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            return self.again[1](F.relu(self.layers[0](x)))


def test_a_model_that_cannot_be_deep_copied() -> None:
    model = Awkward()
    slices = {"layers.0.weight": {0: [1, 4]}, "layers.0.bias": {0: [1, 4]}, "layers.1.weight": {1: [1, 4]}}
    small = Slicer(model)(slices, {})
    assert isinstance(small, Awkward) and small.lock is model.lock
    assert small(torch.randn(3, 4)).shape == (3, 2)
    assert small.seen == [2], "hooks that are methods belong to the copy"
    assert model.seen == []
    assert small.again[0] is small.layers[0]


def test_a_graph_module_of_torch_fx() -> None:
    plain, x = small_net(), torch.randn(3, 4)
    model = fx.symbolic_trace(plain)
    small = Slicer(model)(SLICES, MODULES)
    assert type(small) is type(model)
    assert torch.equal(small(x), by_hand(plain, x, [0, 2, 5]))


@pytest.mark.parametrize(
    "model",
    [
        parametrizations.weight_norm(nn.Linear(4, 4)),
        parametrizations.spectral_norm(nn.Linear(4, 4)),
        nn.LSTM(4, 4, num_layers=2, batch_first=True),
        nn.MultiheadAttention(4, 2, batch_first=True),
        nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
        nn.Sequential(nn.Conv1d(5, 5, 3), nn.BatchNorm1d(5), nn.Dropout(), nn.LayerNorm(2)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_copy_of_any_module_does_the_same_with_tensors_of_its_own(model: nn.Module) -> None:
    model.eval()
    x = torch.randn(3, 5, 4)
    inputs = (x, x, x) if isinstance(model, nn.MultiheadAttention) else (x,)
    slicer = Slicer(model)
    expected = [model(*inputs)]
    for _ in range(2):
        torch.testing.assert_close([slicer({})(*inputs)], expected, rtol=0, atol=0)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.zero_()
    torch.testing.assert_close([slicer._shell(*inputs)], expected, rtol=0, atol=0)


def test_a_module_compiled_in_place_is_not_run_at_its_dense_shapes() -> None:
    model = small_net()
    model._compiled_call_impl = lambda *args: 1 / 0
    assert Slicer(model)(SLICES, MODULES)(torch.randn(3, 4)).shape == (3, 2)


def test_channels_last_changes_the_order_not_the_values() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    small = Slicer(model, channels_last=True)({"0.weight": {1: [0, 2]}})
    assert small[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(small[0].weight, model[0].weight[:, [0, 2]])


def test_a_lazy_module_is_refused() -> None:
    with pytest.raises(ModelError, match="run the model once"):
        Slicer(nn.Sequential(nn.LazyLinear(3)))


def test_indices_may_be_any_sequence() -> None:
    model = small_net()
    results = [
        Slicer(model)({"0.weight": {0: stays}})[0].weight
        for stays in ([0, 3], (0, 3), np.array([0, 3]), np.array([0, 9, 3, 9])[::2], range(0, 6, 3))
    ]
    assert all(torch.equal(results[0], other) for other in results[1:])
