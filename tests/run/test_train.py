import copy
import json
import math
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from autoprune.errors import ArgumentError, DataError, ModelError, RunError
from autoprune.masks import Masks
from autoprune.train import Distillation, Trainer, accuracy, finetune, soft_divergence


def problem(shuffle: bool = True) -> Any:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=generator)
    y = (x @ torch.randn(6, 3, generator=generator)).argmax(1)
    return DataLoader(TensorDataset(x, y), 20, shuffle=shuffle)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3)
        )


def test_accuracy_is_a_share_and_keeps_modes() -> None:
    model = network().train()
    model[1].eval()
    loader = problem()
    got = accuracy(model, loader)
    assert [m.training for m in model.modules()] == [True, True, False, True, True, True]
    model.eval()
    x, y = loader.dataset.tensors
    assert got == pytest.approx((model(x).argmax(1) == y).double().mean().item())


def test_finetune_learns_in_place_and_is_seeded() -> None:
    models, runs = [network(), network(), network()], []
    before = accuracy(models[0], problem())
    state = torch.get_rng_state()
    for model, seed in zip(models, (0, 0, 1), strict=True):
        runs.append(finetune(model, problem(), 4, lr=0.1, seed=seed))
    assert torch.equal(torch.get_rng_state(), state)
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][-1] < runs[0][0]
    assert accuracy(models[0], problem()) > before + 0.1
    assert models[0].training
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)


def test_finetune_reports_and_keeps_eval_mode() -> None:
    seen: list[tuple[int, float]] = []
    model = network().eval()
    losses = finetune(model, problem(), 2, on_epoch=lambda epoch, loss: seen.append((epoch, loss)))
    assert seen == list(enumerate(losses, 1))
    assert not model.training


def test_nothing_to_do() -> None:
    model = network()
    want = copy.deepcopy(model.state_dict())
    assert finetune(model, problem(), 0) == []
    model.requires_grad_(False)
    assert finetune(model, problem(), 2) == []
    torch.testing.assert_close(model.state_dict(), want)


@pytest.mark.parametrize(
    ("loader", "epochs", "error", "message"),
    [
        ([], 1, DataError, "empty loader"),
        ([torch.zeros(4, 6)], 1, DataError, r"must give \(inputs, labels\)"),
        (
            [(torch.zeros(4, 6), torch.zeros(4).long())],
            -1,
            ArgumentError,
            "epochs must be at least 0, got -1",
        ),
    ],
)
def test_bad_input(loader: Any, epochs: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        finetune(network(), loader, epochs)


def test_a_diverging_loss_is_an_error() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="loss must stay finite, got nan"):
        finetune(model, problem(), 1)


def test_accuracy_needs_labels() -> None:
    with pytest.raises(DataError, match="to measure an accuracy"):
        accuracy(network(), [torch.zeros(4, 6)])


OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
    "adamw": lambda p: torch.optim.AdamW(
        [{"params": p[:1], "lr": 0.02}, {"params": p[1:]}], 0.01, amsgrad=True
    ),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.05),
    "rprop": lambda p: torch.optim.Rprop(p, 0.01),
}

SCHEDULERS: dict[str, Any] = {
    "cosine": (None, "step"),
    "cosine by epoch": (None, "epoch"),
    "steps": (lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [1, 3], 0.3), "epoch"),
    "one cycle": (lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=50), "step"),
    "warm-up": (
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [torch.optim.lr_scheduler.LinearLR(o, 0.1), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)],
            [7],
        ),
        "step",
    ),
}


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [
        *((name, "cosine") for name in OPTIMIZERS),
        *(("adam", name) for name in SCHEDULERS if name != "cosine"),
    ],
)
def test_a_session_goes_on_exactly(optimizer: str, scheduler: str) -> None:
    factory, every = SCHEDULERS[scheduler]
    trainer = Trainer(OPTIMIZERS[optimizer], factory, every=every)
    whole, cut = network(), network()
    want = trainer.train(whole, problem(), 4, seed=5)
    losses: list[float] = []
    state: Any = None
    for _ in range(4):
        with trainer.session(cut, problem(), 4, seed=5) as session:
            if state is not None:
                session.restore(*state)
            losses.append(session.run_epoch())
            tensors, values = session.state()
            state = {name: t.clone() for name, t in tensors.items()}, json.loads(json.dumps(values))
            assert session.done == (len(losses) == 4)
    assert losses == want
    for name, value in whole.state_dict().items():
        assert torch.equal(value, cut.state_dict()[name]), name


def test_an_optimizer_that_cannot_be_saved() -> None:
    class Odd(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            self.state[self.param_groups[0]["params"][0]]["odd"] = object()
            return super().step(closure)

    with Trainer(lambda p: Odd(p, 0.1)).session(network(), problem(), 1) as session:
        session.run_epoch()
        with pytest.raises(RunError, match="state '0.odd' must be a tensor or JSON"):
            session.state()


def test_distillation_against_the_plain_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    want = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p = [math.exp(v / 3) / sum(math.exp(u / 3) for u in t) for v in t]
        q = [math.exp(v / 3) / sum(math.exp(u / 3) for u in s) for v in s]
        want += 9 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 5
    assert float(soft_divergence(student, teacher, 3.0)) == pytest.approx(want)
    assert float(soft_divergence(teacher, teacher, 3.0)) == pytest.approx(0, abs=1e-12)


def test_the_first_loss_is_the_mixture() -> None:
    x, y = torch.randn(8, 6), torch.randint(3, (8,))
    teacher, student = network().train(), nn.Linear(6, 3)
    hard = nn.functional.cross_entropy(student(x), y)
    soft = soft_divergence(student(x), teacher.eval()(x), 2.0)
    teacher.train()
    want = float((0.3 * hard + 0.7 * soft).detach())
    got = finetune(copy.deepcopy(student), [(x, y)], 1, distill=Distillation(2.0, 0.7, teacher))
    assert got == [pytest.approx(want)]
    assert teacher.training and all(p.grad is None for p in teacher.parameters())
    alone = finetune(copy.deepcopy(student), [x], 1, distill=Distillation(2.0, 1.0, teacher))
    assert alone == [pytest.approx(float(soft.detach()))]


def test_a_penalty_is_added_and_masks_hold() -> None:
    model = network()
    mask = torch.rand(16, 6) > 0.5
    strengths: dict[float, float] = {}
    for strength in (0.0, 0.1):
        trained = copy.deepcopy(model)

        def penalty(strength: float = strength, trained: Any = trained) -> Tensor:
            return strength * trained[0].weight.abs().sum()

        Trainer().train(trained, problem(), 3, masks=Masks({"0.weight": mask}), penalty=penalty)
        assert not trained[0].weight[~mask].any() and trained[0].weight[mask].all()
        strengths[strength] = trained[0].weight.abs().sum().item()
    assert strengths[0.1] < 0.8 * strengths[0.0]


def test_own_loss_and_hook() -> None:
    steps: list[int] = []
    trainer = Trainer(loss=lambda outputs, labels: outputs.square().mean() + 0 * labels.sum())
    model = network()
    with trainer.session(model, problem(), 2, on_step=lambda s: steps.append(s.step)) as session:
        first = session.run_epoch()
        assert session.run_epoch() < first
    assert steps == list(range(1, 21))


class FakeAccelerator:
    """The part of `accelerate.Accelerator` that is used."""

    device = torch.device("cpu")
    is_main_process = True
    num_processes = 1
    freed = False

    def __init__(self) -> None:
        self.prepared: list[Any] = []

    def prepare(self, *parts: Any) -> tuple[Any, ...]:
        self.prepared.extend(parts)
        return parts

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def wait_for_everyone(self) -> None:
        pass

    def free_memory(self) -> None:
        self.freed = True


def test_an_accelerator_trains_alike() -> None:
    plain, other, accelerator = network(), network(), FakeAccelerator()
    assert Trainer().train(plain, problem(), 2) == Trainer(accelerate=accelerator).train(other, problem(), 2)
    assert [type(part).__name__ for part in accelerator.prepared] == ["Sequential", "SGD", "DataLoader"]
    assert accelerator.freed


def test_accelerate_itself() -> None:
    accelerate = pytest.importorskip("accelerate", reason="needs Hugging Face Accelerate")
    model = network()
    mask = torch.rand(16, 6) > 0.5
    trainer = Trainer(accelerate=accelerate.Accelerator(cpu=True))
    losses = trainer.train(model, problem(), 3, masks=Masks({"0.weight": mask}))
    assert losses[-1] < losses[0] and not model[0].weight[~mask].any()


def test_accelerate_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ArgumentError, match="pip install 'autoprune\\[accelerate\\]'"):
        Trainer(accelerate=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Trainer(optimizer=3), "optimizer must be callable"),  # type: ignore[arg-type]
        (lambda: Trainer(scheduler=3), "scheduler must be callable or None"),  # type: ignore[arg-type]
        (lambda: Trainer(every="image"), "every must be 'step' or 'epoch'"),  # type: ignore[arg-type]
        (lambda: Trainer(distill=0.5), "distill must be a Distillation"),  # type: ignore[arg-type]
        (lambda: Distillation(temperature=0), "temperature must be above 0, got 0"),
        (lambda: Distillation(weight=1.5), "weight must be a share in 0..1, got 1.5"),
        (lambda: finetune(network(), problem(), 1, distill=Distillation()), "must have a teacher"),
    ],
)
def test_bad_trainers(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()
