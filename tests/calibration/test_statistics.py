import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import mutual_info_score
from torch import Tensor, nn

from autoprune.calibration import STATISTICS, Calibration, Statistic, calibrate
from autoprune.calibration.statistics import HessianDiagonal, LabelInformation, Subject, cross_entropy
from autoprune.calibration.statistics.image_gradients import ImageGradients
from autoprune.calibration.statistics.mutual_information import binned, information
from autoprune.data import Batch
from autoprune.errors import ArgumentError, DataError, ModelError, PlanError
from autoprune.graph import PruneGraph, trace
from tests.calibration.nets import images, residual, trained

Parts = tuple[nn.Module, PruneGraph, Tensor, Tensor]


@pytest.fixture(scope="module")
def parts() -> Parts:
    model, graph, x = residual()
    return model, graph, x, labels(len(x))


def labels(count: int, classes: int = 4) -> Tensor:
    return torch.randint(classes, (count,), generator=torch.Generator().manual_seed(5))


def gather(parts: Parts, names: Iterable[str | Statistic], size: int = 100, **options: Any) -> dict[str, Any]:
    model, graph, x, y = parts
    batches = list(zip(x.split(size), y.split(size), strict=True))
    return dict(calibrate(graph, model, batches, statistics=names, **options).statistics)


def image_gradients(parts: Parts, loss: Callable[..., Tensor] = F.cross_entropy) -> dict[str, Tensor]:
    """One image after the other."""
    model, _, x, y = parts
    named = dict(model.named_parameters())
    rows = []
    for i in range(len(x)):
        value = loss(model(x[i : i + 1]), y[i : i + 1])
        rows.append(torch.autograd.grad(value, list(named.values()), allow_unused=True))
    return {name: torch.stack([row[k] for row in rows]) for k, name in enumerate(named)}


def inputs_and_gradients(model: nn.Module, x: Tensor, y: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """What one layer gets as input, and the gradient of every image's own loss; image by image."""
    values, gradients = [], []
    for i in range(len(x)):
        kept: list[Tensor] = []
        handle = model.get_submodule(layer).register_forward_pre_hook(
            lambda _, args, k=kept: k.append(args[0])
        )
        loss = F.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        handle.remove()
        values.append(kept[0].detach().clone())
        gradients += torch.autograd.grad(loss, kept)
    return torch.cat(values), torch.cat(gradients)


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("gradient", lambda g: g.mean(0)),
        ("gradient_abs", lambda g: g.abs().mean(0)),
        ("gradient_square", lambda g: g.square().mean(0)),
    ],
)
def test_gradients_are_those_of_every_image(name: str, of: Callable[[Tensor], Tensor], parts: Parts) -> None:
    found, expected = gather(parts, [name], 7)[name], image_gradients(parts)
    assert set(found) == {key for key, _ in parts[0].named_parameters()}
    for key, gradient in expected.items():
        assert found[key].dtype == torch.float64
        torch.testing.assert_close(found[key], of(gradient))


@pytest.mark.parametrize("name", ["activation", "nonzero", "taylor_activation"])
def test_units_are_seen_at_the_layers_that_read_them(name: str, parts: Parts) -> None:
    model, _, x, y = parts

    def expected(layer: str) -> Tensor:
        a, g = (
            t.flatten(2) if t.dim() > 2 else t[..., None] for t in inputs_and_gradients(model, x, y, layer)
        )
        if name == "taylor_activation":
            return (a * g).mean(2).abs().mean(0)
        return (a.abs() if name == "activation" else (a != 0).double()).mean((0, 2))

    found = gather(parts, [name], 7)[name]
    assert set(found) == {"stem.weight", "a1.weight", "b1.weight"}
    torch.testing.assert_close(found["a1.weight"], expected("a2"))
    torch.testing.assert_close(found["b1.weight"], expected("b2"))
    stream = torch.stack([expected(layer) for layer in ("a1", "b1", "head")])
    torch.testing.assert_close(
        found["stem.weight"], stream.sum(0) if name == "taylor_activation" else stream.mean(0)
    )


class Shared(nn.Module):
    """A tensor with two readers, one of them grouped, and a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.left, self.right = nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 5, 4)
        self.up = nn.ConvTranspose2d(4, 2, 2)
        self.last, self.head = nn.Linear(2 * 25 + 5, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        left, right = self.up(torch.relu(self.left(x))), torch.relu(self.right(x))
        return self.head(torch.relu(self.last(torch.cat([left.flatten(1), right.flatten(1)], 1))))


@pytest.fixture(scope="module")
def shared() -> Parts:
    torch.manual_seed(0)
    x = images(20)
    model = trained(Shared(), x)
    return model, trace(model, x[:2]), x, labels(20)


def test_one_tensor_counts_once_and_every_position_of_a_unit_counts(shared: Parts) -> None:
    model, graph, x, y = shared
    found = gather(shared, ["activation", "taylor_activation"], 6)
    seen = {layer: inputs_and_gradients(model, x, y, layer) for layer in ("left", "up", "last", "head")}
    for group in graph.prunable:
        reads = {a.parameter.split(".")[0]: a.indices for a in group.axes}
        layer, channels = next(
            (n, reads[n]) for n in ("last", "head", "up", "left") if n in reads and readable(n, group)
        )
        a, g = seen[layer]
        if layer == "left":
            channels = torch.cat([torch.as_tensor(channels) + 2 * k for k in range(2)], 1).numpy()
        units = [(a[:, c].flatten(1), g[:, c].flatten(1)) for c in channels]
        torch.testing.assert_close(
            found["activation"][group.name], torch.stack([v.abs().mean() for v, _ in units])
        )
        torch.testing.assert_close(
            found["taylor_activation"][group.name],
            torch.stack([(v * w).mean(1).abs().mean() for v, w in units]),
        )
    assert len(graph.prunable) >= 4


def readable(layer: str, group: Any) -> bool:
    dim = 0 if layer == "up" else 1
    return any(a.parameter == f"{layer}.weight" and a.dim == dim for a in group.axes)


def test_input_squares_are_those_of_the_unfolded_maps(shared: Parts, parts: Parts) -> None:
    model, graph, x, y = shared
    found = gather(shared, ["input_square"], 6)["input_square"]
    assert set(found) == {layer.weight for layer in graph.layers}
    torch.testing.assert_close(found["first.weight"][0].flatten(), F.unfold(x, 3).square().mean((0, 2)))
    grouped, _ = inputs_and_gradients(model, x, y, "left")
    per_channel = grouped.square().mean((0, 2, 3))
    expected = torch.stack([per_channel[2 * (row // 2) :][:2] for row in range(4)])
    torch.testing.assert_close(found["left.weight"][:, :, 0, 0], expected)
    up, _ = inputs_and_gradients(model, x, y, "up")
    torch.testing.assert_close(found["up.weight"].flatten(), up.square().mean((0, 2, 3)))
    last, _ = inputs_and_gradients(model, x, y, "last")
    torch.testing.assert_close(found["last.weight"], last.square().mean(0, keepdim=True))
    model, _, x, y = parts
    padded, _ = inputs_and_gradients(model, x, y, "b2")
    expected = F.unfold(padded, 3, padding=1).square().mean((0, 2))
    torch.testing.assert_close(
        gather(parts, ["input_square"], 5)["input_square"]["b2.weight"].flatten(), expected
    )


class Smooth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3, bias=False), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x)))


def exact_diagonal(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    named = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(model, parameters, (x,)), y)

    full = torch.func.jacrev(torch.func.jacrev(loss))(named)
    return {n: full[n][n].reshape(p.numel(), -1).diagonal().view_as(p) for n, p in named.items()}


def test_hutchinson_tends_to_the_diagonal_of_the_hessian() -> None:
    torch.manual_seed(1)
    model, x, y = Smooth().double(), torch.randn(40, 4).double(), labels(40, 2)
    graph = trace(model, x[:2])
    expected = exact_diagonal(model, x, y)
    found = gather((model, graph, x, y), [HessianDiagonal(probes=300, every=1)], 9)["hessian"]
    for name, diagonal in expected.items():
        assert (found[name] - diagonal).norm() < 0.15 * max(d.norm() for d in expected.values())
    few = gather((model, graph, x, y), [HessianDiagonal(probes=5, every=1)])["hessian"]
    error, coarse = ((t["a.weight"] - expected["a.weight"]).norm() for t in (found, few))
    assert error < coarse


def test_hutchinson_is_exact_for_a_diagonal_hessian_and_leaves_blocks_out() -> None:
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.Linear(6, 3, bias=False)).double()
    rows = torch.randn(70, 4).double()

    def loss(outputs: Tensor, _: Tensor) -> Tensor:
        return (model[0].weight.square() * 1.5).sum() + 0 * outputs.sum()

    parts = model, trace(model, rows[:2]), rows, torch.zeros(70)
    found = gather(parts, ["hessian"], 11, loss=loss)["hessian"]
    torch.testing.assert_close(found["0.weight"], torch.full((6, 4), 3.0).double())
    torch.testing.assert_close(found["1.weight"], torch.zeros(3, 6).double())
    assert images_read(HessianDiagonal(), 70) == [*range(32), *range(64, 70)]
    assert images_read(HessianDiagonal(every=1), 70) == [*range(70)]


def images_read(statistic: HessianDiagonal, count: int) -> list[int]:
    """Which images a statistic reads."""
    model = nn.Linear(1, 2)
    x = torch.arange(float(count))[:, None]
    seen: list[int] = []

    def loss(outputs: Any, y: Tensor) -> Tensor:
        seen.extend(int(v) for v in y)
        return F.cross_entropy(outputs, y * 0)

    statistic.start(Subject(trace(model, x[:2]), model, loss, 0))
    for part in x.split(13):
        statistic.batch(Batch(part, part[:, 0].long()))
    return seen


@pytest.mark.parametrize("bins", [2, 5])
def test_mutual_information_is_that_of_the_binned_means(bins: int, parts: Parts) -> None:
    model, _, x, y = parts
    values, _ = inputs_and_gradients(model, x, y, "b2")
    means = values.mean((2, 3)).float()
    found = gather(parts, [LabelInformation(bins)], 7)["mutual_information"]["b1.weight"]
    codes = binned(means, bins)
    expected = [mutual_info_score(codes[:, unit].tolist(), y.tolist()) for unit in range(10)]
    torch.testing.assert_close(found, torch.tensor(expected).double())
    assert codes.min() == 0 and codes.max() == bins - 1


def test_mutual_information_of_extremes() -> None:
    y = torch.arange(40) % 4
    noise = torch.zeros(40)
    codes = binned(torch.stack([y.float(), noise, (y > 1).float()], 1), 4)
    found = information(codes, y, 4)
    torch.testing.assert_close(found, torch.tensor([math.log(4), 0.0, math.log(2)]).double())


@pytest.mark.parametrize("name", STATISTICS)
def test_the_batches_make_no_difference(name: str, parts: Parts) -> None:
    one, many = gather(parts, [name], 100)[name], gather(parts, [name], 5)[name]
    assert set(one) == set(many)
    for key, tensor in one.items():
        torch.testing.assert_close(many[key], tensor)
        assert tensor.dtype == torch.float64 and tensor.device.type == "cpu"


def test_all_together_are_each_alone(parts: Parts) -> None:
    together = gather(parts, STATISTICS, 9)
    assert list(together) == list(STATISTICS)
    for name in STATISTICS:
        for key, tensor in gather(parts, [name], 9)[name].items():
            torch.testing.assert_close(together[name][key], tensor)


def test_moments_are_the_same_with_statistics(parts: Parts) -> None:
    model, graph, x, y = parts
    plain = calibrate(graph, model, [(x, y)], positions=4)
    more = calibrate(graph, model, [(x, y)], positions=4, statistics=STATISTICS)
    for name, moment in plain.moments.items():
        assert torch.equal(moment.second, more.moments[name].second)
    assert not plain.statistics


def test_nothing_leaks(parts: Parts) -> None:
    _, _, x, y = parts
    model, graph, _ = residual()
    model.train()
    model.a1.weight.requires_grad_(False)
    model.b1.weight.grad = torch.ones_like(model.b1.weight)
    before = {key: t.clone() for key, t in model.state_dict().items()}
    state = torch.get_rng_state()
    found = gather((model, graph, x, y), STATISTICS, 9)
    assert found["gradient"]["a1.weight"].abs().max() > 0
    assert torch.equal(state, torch.get_rng_state()) and torch.is_grad_enabled()
    assert all(module.training for module in model.modules())
    assert all(torch.equal(t, before[key]) for key, t in model.state_dict().items())
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name != "a1.weight")
        assert (parameter.grad is None) == (name != "b1.weight")
    assert torch.equal(model.b1.weight.grad, torch.ones_like(model.b1.weight))
    assert not model._forward_hooks and not model._forward_pre_hooks


def test_requires_grad_comes_back_after_an_error(parts: Parts) -> None:
    model, graph, x, y = parts
    model.a1.weight.requires_grad_(False)
    with pytest.raises(DataError):
        calibrate(graph, model, [(x, y), (x, y + 9)], statistics=["gradient"])
    assert not model.a1.weight.requires_grad
    model.a1.weight.requires_grad_(True)


def test_gradients_under_no_grad(parts: Parts) -> None:
    with torch.no_grad():
        inside = gather(parts, ["gradient", "taylor_activation", "hessian", "gradient_square"])
    for name, tensors in gather(parts, inside).items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, inside[name][key])


def test_another_loss(parts: Parts) -> None:
    model, graph, x, _ = parts
    target = torch.randn(len(x), 4, generator=torch.Generator().manual_seed(2)).double()
    found = gather((model, graph, x, target), ["gradient", "gradient_square"], 7, loss=F.mse_loss)
    expected = image_gradients((model, graph, x, target), F.mse_loss)
    torch.testing.assert_close(found["gradient"]["b1.weight"], expected["b1.weight"].mean(0))
    torch.testing.assert_close(found["gradient_square"]["b1.weight"], expected["b1.weight"].square().mean(0))


class Branching(nn.Module):
    """Values decide what runs: vmap refuses it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.a(x))
        return self.b(y if float(y.detach().sum()) > -1 else -y)


def test_gradients_without_vmap() -> None:
    model, x, y = Branching().double(), torch.randn(9, 4).double(), labels(9, 3)
    gradients = ImageGradients(Subject(None, model, cross_entropy, 0))  # type: ignore[arg-type]
    rows = list(gradients(Batch(x, y)))
    assert len(rows) == 9
    expected = image_gradients((model, None, x, y))  # type: ignore[arg-type]
    for name, tensor in expected.items():
        torch.testing.assert_close(torch.cat([row[name] for row in rows]), tensor)


def test_large_networks_go_in_smaller_chunks(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    module = "autoprune.calibration.statistics.image_gradients.BYTES"
    model, graph, x, y = parts
    size = 4 * sum(p.numel() for p in model.parameters())
    monkeypatch.setattr(module, 5 * size)
    rows = list(ImageGradients(Subject(graph, model, cross_entropy, 0))(Batch(x, y)))
    assert [len(row["b1.weight"]) for row in rows] == [5, 5, 5, 5, 4]


@pytest.mark.parametrize(
    "name", ["gradient", "gradient_square", "hessian", "taylor_activation", "mutual_information"]
)
def test_missing_labels_are_noticed_before_the_network_runs(name: str, parts: Parts) -> None:
    model, graph, x, _ = parts
    runs: list[int] = []
    handle = model.register_forward_pre_hook(lambda *_: runs.append(1))
    with pytest.raises(DataError, match=f"'{name}' needs labels, but batch 0"):
        calibrate(graph, model, [x], statistics=["activation", name])
    handle.remove()
    assert not runs


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (labels(24) + 2, "0..3, got [45]"),
        (labels(24).double(), "class indices"),
        (labels(24)[:, None], "class indices"),
    ],
)
@pytest.mark.parametrize("name", ["gradient", "gradient_abs", "hessian"])
def test_labels_that_do_not_fit(name: str, y: Tensor, words: str, parts: Parts) -> None:
    model, graph, x, _ = parts
    with pytest.raises(DataError, match=words):
        calibrate(graph, model, [(x, y)], statistics=[name])


@pytest.mark.parametrize(
    ("statistics", "words"),
    [
        (["taylor_activations"], "did you mean 'taylor_activation'"),
        ("gradiemt", "did you mean 'gradient'"),
        ([LabelInformation(), LabelInformation(3)], "'mutual_information' twice"),
    ],
)
def test_unknown_statistics(statistics: Any, words: str, parts: Parts) -> None:
    model, graph, x, _ = parts
    with pytest.raises(ArgumentError, match=words):
        calibrate(graph, model, [x], statistics=statistics)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LabelInformation(1), "bins.*got 1"),
        (lambda: HessianDiagonal(probes=0), "probes.*got 0"),
        (lambda: HessianDiagonal(every=0), "every.*got 0"),
    ],
)
def test_bad_options(make: Callable[[], Statistic], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        make()


def test_statistics_must_be_finite(parts: Parts) -> None:
    with pytest.raises(ModelError, match="'gradient' must be finite"):
        gather(parts, ["gradient"], loss=lambda outputs, _: outputs.sum() * torch.inf)


class Largest(Statistic):
    """A user's own: the largest label and how often each layer ran."""

    name: ClassVar[str] = "largest"
    labels: ClassVar[bool] = True

    def start(self, subject: Subject) -> None:
        self.found = {"label": torch.zeros(()).double()} | {
            layer.weight: torch.zeros(()).double() for layer in subject.graph.layers
        }

    def layer(self, call: Any, output: Tensor) -> None:
        self.found[call.layer.weight] += 1

    def batch(self, batch: Batch) -> None:
        assert batch.labels is not None
        self.found["label"] = torch.maximum(self.found["label"], batch.labels.max())

    def result(self) -> dict[str, Tensor]:
        return self.found


def test_a_statistic_of_ones_own_starts_anew_in_every_pass(parts: Parts) -> None:
    own = Largest()
    for _ in range(2):
        found = gather(parts, [own], 6)["largest"]
    assert found["label"] == 3 and found["a1.weight"] == 4 and found["head.weight"] == 4


def test_save_and_load(tmp_path: Path, parts: Parts) -> None:
    model, graph, x, y = parts
    first = calibrate(graph, model, [(x, y)], statistics=STATISTICS)
    first.save(tmp_path / "c.safetensors")
    second = Calibration.load(tmp_path / "c.safetensors", graph)
    assert list(second.statistics) == list(first.statistics)
    for name, tensors in first.statistics.items():
        assert list(tensors) == list(second.statistics[name])
        assert all(torch.equal(t, second.statistic(name)[key]) for key, t in tensors.items())
        assert all(t.dtype == torch.float64 for t in second.statistic(name).values())


def test_a_file_that_lacks_a_statistic_is_refused(tmp_path: Path, parts: Parts) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    model, graph, x, _ = parts
    path = tmp_path / "c.safetensors"
    calibrate(graph, model, [x], statistics=["activation"]).save(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {k: file.get_tensor(k) for k in file.keys() if k != "statistic:activation:a1.weight"}  # noqa: SIM118
    save_file(tensors, path, metadata)
    with pytest.raises(PlanError, match="damaged.*statistic:activation:a1.weight"):
        Calibration.load(path, graph)


def test_a_file_from_before_there_were_statistics_can_be_read(tmp_path: Path, parts: Parts) -> None:
    import json

    from safetensors import safe_open
    from safetensors.torch import save_file

    model, graph, x, _ = parts
    path = tmp_path / "c.safetensors"
    calibrate(graph, model, [x]).save(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["calibration"])
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    del header["statistics"]
    save_file(tensors, path, {"calibration": json.dumps(header)})
    assert Calibration.load(path, graph).statistics == {}


def test_asking_for_what_was_not_gathered(parts: Parts) -> None:
    model, graph, x, _ = parts
    with pytest.raises(
        ArgumentError, match=r"'gradient', but holds activation; pass statistics=\['gradient'\]"
    ):
        calibrate(graph, model, [x], statistics=["activation"]).statistic("gradient")
