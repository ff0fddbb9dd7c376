"""Masks that hold through training, whatever the optimizer and the loop do."""

import copy
import io
from collections.abc import Callable, Iterable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim import (
    LBFGS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    NAdam,
    Optimizer,
    RMSprop,
    Rprop,
)

from autoprune.errors import ArgumentError, MaskError
from autoprune.masks import Masks, global_masks

Factory = Callable[[Iterable[Tensor]], Optimizer]

OPTIMIZERS: dict[str, Factory] = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "momentum": lambda p: SGD(p, lr=0.05, momentum=0.9, weight_decay=0.05),
    "nesterov": lambda p: SGD(p, lr=0.05, momentum=0.9, weight_decay=0.05, nesterov=True),
    "maximize": lambda p: SGD(p, lr=0.01, momentum=0.5, maximize=True),
    "single tensor": lambda p: SGD(p, lr=0.05, momentum=0.9, foreach=False),
    "adamw": lambda p: AdamW(p, lr=0.01, weight_decay=0.1),
    "amsgrad": lambda p: Adam(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "fused adamw": lambda p: AdamW(p, lr=0.01, weight_decay=0.1, fused=True),
    "nadam": lambda p: NAdam(p, lr=0.01, decoupled_weight_decay=True, weight_decay=0.1),
    "rmsprop": lambda p: RMSprop(p, lr=0.01, momentum=0.9, centered=True, weight_decay=0.1),
    "adagrad": lambda p: Adagrad(p, lr=0.05, initial_accumulator_value=0.1),
    "adadelta": lambda p: Adadelta(p, lr=1.0),
    "adamax": lambda p: Adamax(p, lr=0.01),
    "rprop": lambda p: Rprop(p, lr=0.01),
    "lbfgs": lambda p: LBFGS(p, lr=0.1, max_iter=4),
}


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 8),
        nn.Tanh(),
        nn.Linear(8, 3),
    )


def data() -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(1)
    return torch.randn(16, 3, 4, 4, generator=chance), torch.randint(3, (16,), generator=chance)


def masks_of(model: nn.Module, sparsity: float = 0.6) -> Masks:
    """Random masks of everything, biases and batch-norm included."""
    chance = torch.Generator().manual_seed(2)
    return global_masks(
        {n: torch.rand(p.shape, generator=chance) for n, p in model.named_parameters()}, sparsity
    )


def train(
    model: nn.Module, optimizer: Optimizer, steps: int = 4, after: Callable[[], None] = lambda: None
) -> None:
    x, y = data()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
        after()


def revived(model: nn.Module, masks: Masks) -> int:
    return sum(int(p.detach()[~masks[n]].count_nonzero()) for n, p in model.named_parameters() if n in masks)


def gradients_revived(model: nn.Module, masks: Masks) -> int:
    given = [(n, p.grad) for n, p in model.named_parameters() if p.grad is not None]
    return sum(int(g[~masks[n]].count_nonzero()) for n, g in given if n in masks)


def state_revived(model: nn.Module, masks: Masks, optimizer: Optimizer) -> int:
    return sum(
        int(value[~masks[n]].count_nonzero())
        for n, p in model.named_parameters()
        for value in optimizer.state.get(p, {}).values()
        if isinstance(value, Tensor) and value.shape == p.shape
    )


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_no_optimizer_revives_a_weight(name: str) -> None:
    model = net()
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer)  # momentum that pulls at weights which are about to be masked
    masks = masks_of(model)
    kept = {n: p.detach().clone() for n, p in model.named_parameters()}
    with masks.enforce(model, optimizer):
        assert revived(model, masks) == 0
        assert state_revived(model, masks, optimizer) == 0

        def check() -> None:
            assert (revived(model, masks), gradients_revived(model, masks)) == (0, 0)
            assert state_revived(model, masks, optimizer) == 0

        train(model, optimizer, after=check)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert any(not torch.equal(p, kept[n] * masks[n]) for n, p in model.named_parameters()), (
        "nothing was learned"
    )


@pytest.mark.parametrize("name", ["sgd", "momentum", "adamw"])
def test_without_enforcement_weights_are_revived(name: str) -> None:
    model = net()
    optimizer = OPTIMIZERS[name](model.parameters())
    masks = masks_of(model)
    masks.bake(model)
    train(model, optimizer, 1)
    assert revived(model, masks) > 0


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adamw", "amsgrad"])
def test_training_equals_that_of_a_reparametrized_network(name: str) -> None:
    """The independent reference: PyTorch's own masks, which multiply in the forward pass."""
    ours, theirs = net().double(), net().double()
    masks = masks_of(ours)
    for path in ("0", "1", "4", "6"):
        for attribute in ("weight", "bias"):
            prune.custom_from_mask(theirs.get_submodule(path), attribute, masks[f"{path}.{attribute}"])
    x, y = data()
    one = OPTIMIZERS[name](ours.parameters())
    two = OPTIMIZERS[name](theirs.parameters())
    with masks.enforce(ours, one):
        for _ in range(6):
            for model, optimizer in ((ours, one), (theirs, two)):
                optimizer.zero_grad()
                F.cross_entropy(model(x.double()), y).backward()
                optimizer.step()
    for path in ("0", "1", "4", "6"):
        for attribute in ("weight", "bias"):
            module = theirs.get_submodule(path)
            expected = getattr(module, f"{attribute}_orig") * getattr(module, f"{attribute}_mask")
            assert torch.allclose(getattr(ours.get_submodule(path), attribute), expected, atol=1e-12)


def test_gradient_clipping_does_not_see_masked_gradients() -> None:
    model = net()
    masks = Masks({n: torch.zeros(p.shape, dtype=torch.bool) for n, p in model[4].named_parameters("4")})
    x, y = data()
    with masks.enforce(model, SGD(model.parameters(), lr=0.1)):
        F.cross_entropy(model(x), y).backward()
        assert not model[4].weight.grad.any() and model[6].bias.grad.any()


def test_gradients_that_are_written_by_hand() -> None:
    model = net()
    optimizer = AdamW(model.parameters(), lr=0.1)
    masks = masks_of(model)
    with masks.enforce(model, optimizer):
        for p in model.parameters():
            p.grad = torch.full_like(p, torch.nan).masked_fill(masks[_name(model, p)], 1.0)
        optimizer.step()
        assert revived(model, masks) == 0
        assert all(torch.isfinite(p).all() for p in model.parameters())
        assert state_revived(model, masks, optimizer) == 0


class NormalizedSGD(SGD):
    """Divides by the norm over all gradients, so that one stray gradient spoils every weight."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norm = torch.stack([g.norm() for g in gradients]).norm()
        for g in gradients:
            g.div_(norm)
        return super().step(closure)


def test_an_optimizer_never_sees_gradients_of_masked_weights() -> None:
    model = net()
    optimizer = NormalizedSGD(model.parameters(), lr=0.1)
    masks = masks_of(model)
    with masks.enforce(model, optimizer):
        for n, p in model.named_parameters():
            p.grad = torch.ones_like(p).masked_fill(~masks[n], torch.inf)
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.step()
    moved = [p.detach() - b for p, b in zip(model.parameters(), before, strict=True)]
    assert torch.stack([m.norm() for m in moved]).norm() == pytest.approx(0.1, rel=1e-5)
    assert revived(model, masks) == 0


def _name(model: nn.Module, parameter: Tensor) -> str:
    return next(n for n, p in model.named_parameters() if p is parameter)


def test_a_parameter_that_is_replaced_is_held() -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    masks = masks_of(model)
    with masks.enforce(model, optimizer):
        train(model, optimizer, 2)
        model[4].weight = nn.Parameter(torch.ones(8, 24))
        optimizer.add_param_group({"params": [model[4].weight]})
        train(model, optimizer, 2)
        assert revived(model, masks) == 0


def test_frozen_and_unfrozen() -> None:
    model = net()
    model[4].requires_grad_(False)
    optimizer = AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    masks = masks_of(model)
    with masks.enforce(model, optimizer):
        train(model, optimizer, 2)
        model[4].requires_grad_(True)
        train(model, optimizer, 2)
        assert revived(model, masks) == state_revived(model, masks, optimizer) == 0


def test_weights_loaded_in_between_are_masked_by_the_next_step() -> None:
    model, dense = net(), net().state_dict()
    optimizer = SGD(model.parameters(), lr=0.1)
    masks = masks_of(model)
    with masks.enforce(model, optimizer):
        model.load_state_dict(dense)
        train(model, optimizer, 1)
        assert revived(model, masks) == 0


def test_mixed_precision_with_a_gradient_scaler() -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    masks = masks_of(model)
    x, y = data()
    with masks.enforce(model, optimizer):
        for _ in range(3):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(model(x).float(), y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            assert revived(model, masks) == gradients_revived(model, masks) == 0


def test_accumulated_gradients_and_a_learning_rate_schedule() -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    masks = masks_of(model)
    x, y = data()
    with masks.enforce(model, optimizer):
        for _ in range(4):
            F.cross_entropy(model(x[:8]), y[:8]).backward()
            F.cross_entropy(model(x[8:]), y[8:]).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            assert revived(model, masks) == 0


def test_two_optimizers() -> None:
    model = net()
    first = SGD(model[0].parameters(), lr=0.1, momentum=0.9)
    second = AdamW([*model[1].parameters(), *model[4:].parameters()], lr=0.01)
    masks = masks_of(model)
    x, y = data()
    with masks.enforce(model, first, second):
        for _ in range(3):
            F.cross_entropy(model(x), y).backward()
            first.step()
            second.step()
            assert revived(model, masks) == 0


def test_sparse_embedding_gradients() -> None:
    model = nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Linear(4, 2))
    masks = masks_of(model)
    optimizer = torch.optim.SparseAdam(model[0].parameters(), lr=0.1)
    with masks.enforce(model, optimizer):
        model(torch.arange(6)).sum().backward()
        optimizer.step()
        assert revived(model, masks) == 0


def test_running_statistics_can_be_held_too() -> None:
    model = net().train()
    masks = Masks({"1.running_mean": torch.tensor([True, False] * 3)})
    optimizer = SGD(model.parameters(), lr=0.1)
    with masks.enforce(model, optimizer):
        train(model, optimizer, 2)
        assert (model[1].running_mean != 0).tolist() == [True, False] * 3


def test_leaving_takes_everything_off() -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    attributes = [sorted(m.__dict__) for m in model.modules()]
    masks = masks_of(model)
    with pytest.raises(RuntimeError, match="inside"), masks.enforce(model, optimizer):
        raise RuntimeError("inside")
    assert revived(model, masks) == 0
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks
    assert all(not p._backward_hooks for p in model.parameters())
    assert [sorted(m.__dict__) for m in model.modules()] == attributes
    train(model, optimizer, 1)
    assert revived(model, masks) > 0, "training is free again"


def test_copies_made_inside_are_plain() -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=0.1)
    masks = masks_of(model)
    with masks.enforce(model, optimizer):
        train(model, optimizer, 1)
        twin = copy.deepcopy(model)
        buffer = io.BytesIO()
        torch.save(model, buffer)
    stored = torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    for other in (twin, stored):
        assert revived(other, masks) == 0
        assert all(not p._backward_hooks for p in other.parameters())
        with masks.enforce(other, free := SGD(other.parameters(), lr=0.1)):
            train(other, free, 1)
            assert revived(other, masks) == 0


def test_a_schedule_can_change_the_masks() -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    loose, tight = masks_of(model, 0.3), masks_of(model, 0.8)
    with loose.enforce(model, optimizer) as enforcement:
        train(model, optimizer, 2)
        enforcement.update(tight)
        assert revived(model, tight) == state_revived(model, tight, optimizer) == 0
        train(model, optimizer, 2)
        assert revived(model, tight) == 0
        enforcement.update(loose)
        train(model, optimizer, 2)
        assert revived(model, loose) == 0 and revived(model, tight) > 0
        with pytest.raises(MaskError):
            enforcement.update({"nowhere": torch.ones(2, dtype=torch.bool)})
        train(model, optimizer, 1)
        assert revived(model, loose) == 0
    enforcement.update(tight)
    train(model, optimizer, 1)
    assert revived(model, tight) > 0, "an update after the end must not enforce"


def test_remove_after_enforced_training_gives_the_dense_weights_back() -> None:
    model = net()
    dense = {n: p.detach().clone() for n, p in model.named_parameters()}
    masks = masks_of(model)
    optimizer = SGD(model.parameters(), lr=0.1)
    with masks.apply(model), masks.enforce(model, optimizer):
        train(model, optimizer)
    for n, p in model.named_parameters():
        assert torch.equal(p[~masks[n]], dense[n][~masks[n]])


def test_no_optimizer_at_all_masks_the_gradients() -> None:
    model = net()
    masks = masks_of(model)
    x, y = data()
    with masks.enforce(model):
        F.cross_entropy(model(x), y).backward()
        assert gradients_revived(model, masks) == 0


def test_what_is_no_optimizer_is_refused() -> None:
    model = net()
    with pytest.raises(ArgumentError, match=r"torch.optim.Optimizer objects, got list"):
        masks_of(model).enforce(model, list(model.parameters()))  # type: ignore[arg-type]
