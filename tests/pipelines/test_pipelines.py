import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import Adam

import autoprune
from autoprune.data import DataSplits
from autoprune.errors import ArgumentError, AutopruneError, BudgetError, DataError, RunError
from autoprune.masks import Masks, follows
from autoprune.pipelines import (
    PIPELINES,
    Progress,
    at_init,
    gradual,
    iterative_magnitude,
    lottery_ticket,
    molchanov,
    optimal_brain,
    pipeline,
    sparse_training,
)
from autoprune.schedules import GradualPruning
from autoprune.train import Distillation, Trainer
from tests.pipelines.problem import KillAt, Killed, batches, data, net, same

WEIGHTS = {"conv1.weight": 54, "conv2.weight": 432, "linear.weight": 32}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "iterative": ("iterative_magnitude", {"sparsity": 0.6, "rounds": 2, "epochs": 2}),
    "iterative, no training": ("iterative_magnitude", {"sparsity": 0.6, "rounds": 2, "epochs": 0}),
    "lottery": (
        "lottery_ticket",
        {"sparsity": 0.5, "rounds": 2, "epochs": 2, "rewind_epoch": 1, "control": "random"},
    ),
    "lottery, reinit": ("lottery_ticket", {"sparsity": 0.5, "rounds": 1, "epochs": 1, "control": "reinit"}),
    "surgeon": ("optimal_brain", {"sparsity": 0.5, "rounds": 2, "epochs": 1}),
    "damage": ("optimal_brain", {"sparsity": 0.5, "rounds": 2, "variant": "damage", "criterion": "l1"}),
    "molchanov": ("molchanov", {"budget": "macs=60%", "criterion": "l1", "share": 0.2}),
    "gradual": ("gradual", {"sparsity": 0.7, "epochs": 3, "every": 2}),
    "sparse training": (
        "sparse_training",
        {"budget": "macs=60%", "epochs": 1, "finetune_epochs": 1, "penalty": "group_lasso"},
    ),
    "snip": ("at_init", {"sparsity": 0.6, "method": "snip", "epochs": 1}),
    "synflow": ("at_init", {"sparsity": 0.6, "method": "synflow", "iterations": 3, "epochs": 1}),
}


def run(case: str, **options: Any) -> Any:
    name, settings = CASES[case]
    trainer = Trainer(lambda parameters: Adam(parameters, 0.01), distill=Distillation(2.0, 0.5))
    return PIPELINES[name](net(), data(), **settings, **{"trainer": trainer, "images": 32, **options})


@pytest.mark.parametrize("case", CASES)
def test_every_pipeline_keeps_its_promise(case: str) -> None:
    model, settings = net(), CASES[case][1]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    events: list[Progress] = []
    result = run(case, on_progress=events.append)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert events[0].stage == "trace" and events[-1].stage == "done"
    assert [row["round"] for row in result.history] == list(range(1, len(result.history) + 1))
    assert all(0 <= row["accuracy_before"] <= 1 and 0 <= row["accuracy_after"] <= 1 for row in result.history)
    assert result.pipeline in result.summary() and "total" in result.summary()
    json.dumps(result.history)
    if "budget" in settings:
        graph = autoprune.trace(net(), torch.zeros(1, 1, 6, 6))
        assert result.plan is not None and result.masks is None
        assert graph.macs(result.plan.widths) <= 0.6 * graph.macs()
        assert sum(p.numel() for p in result.model.parameters()) == graph.params(result.plan.widths)
    else:
        assert result.plan is None
        units = {"global": sum(WEIGHTS.values())} if "at_init" in CASES[case][0] else WEIGHTS
        gone = (
            {"global": result.masks.total - result.masks.kept}
            if "global" in units
            else {name: int((~mask).sum()) for name, mask in result.masks.items()}
        )
        assert gone == {name: round(settings["sparsity"] * count) for name, count in units.items()}
        for name, mask in result.masks.items():
            assert not result.model.get_parameter(name)[~mask].any()


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_is_as_uninterrupted(case: str, tmp_path: Path) -> None:
    whole = run(case, run_dir=tmp_path / "whole")
    assert same(whole.model, run(case).model)
    result, kills = None, 0
    while result is None and kills < 40:
        try:
            result = run(case, run_dir=tmp_path / "cut", resume=True, on_progress=KillAt(2 + kills % 3))
        except Killed:
            kills += 1
    assert result is not None and kills > 1
    assert same(whole.model, result.model)
    assert whole.history == result.history and whole.masks == result.masks and whole.plan == result.plan
    again = run(case, run_dir=tmp_path / "cut", resume=True)
    assert same(whole.model, again.model)
    folder = tmp_path / "cut"
    assert json.loads((folder / "history.json").read_text()) == whole.history
    if whole.plan is None:
        assert Masks.load(folder / "masks.safetensors") == whole.masks
    else:
        assert same(autoprune.load(folder / "pruned", net()), whole.model)


@pytest.mark.parametrize(
    "criterion", ["magnitude", "lamp", "wanda", "gradient", "taylor", "fisher", "hessian"]
)
def test_any_criterion_of_single_weights(criterion: str) -> None:
    result = iterative_magnitude(net(), data(), 0.5, rounds=1, epochs=0, criterion=criterion, images=32)
    assert result.sparsity == pytest.approx(0.5) and 0 < result.measures.total.sparsity < 0.5


@pytest.mark.parametrize("criterion", ["taylor", "layer_l2(taylor)", "bn_scale", "obs", "trainable"])
def test_any_criterion_of_channels(criterion: str) -> None:
    result = molchanov(net(), data(), "params=70%", criterion=criterion, share=0.2, epochs=0, images=32)
    assert (
        result.plan is not None
        and result.plan.costs.found["params"] <= 0.7 * result.plan.costs.dense["params"]
    )


@pytest.mark.parametrize("penalty", ["l1", "group_lasso", "bn_scale"])
def test_sparse_training_shrinks_what_it_penalizes(penalty: Any) -> None:
    """With a strong penalty the regularized tensors end smaller than without."""
    sizes = []
    for strength in (0.0, 0.2):
        model = sparse_training(
            net(),
            data(),
            "macs=100%",
            penalty=penalty,
            strength=strength,
            epochs=4,
            finetune_epochs=0,
            images=16,
        ).model
        scale, weight = model.get_parameter("bn2.weight"), model.get_parameter("conv2.weight")
        sizes.append(float((scale if penalty == "bn_scale" else weight).detach().abs().sum()))
    assert sizes[1] < 0.95 * sizes[0]


def test_a_torn_checkpoint_costs_nothing(tmp_path: Path) -> None:
    whole = run("iterative")
    with pytest.raises(Killed):
        run("iterative", run_dir=tmp_path, on_progress=KillAt(7))
    newest = max((tmp_path / "checkpoint").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    assert same(whole.model, run("iterative", run_dir=tmp_path, resume=True).model)


def test_runs_are_not_mixed_up(tmp_path: Path) -> None:
    run("iterative, no training", run_dir=tmp_path)
    with pytest.raises(RunError, match="already holds a pipeline; go on with resume=True"):
        run("iterative, no training", run_dir=tmp_path)
    with pytest.raises(RunError, match="settings that it was begun with: epochs was 0, got 2"):
        run("iterative", run_dir=tmp_path, resume=True)
    with pytest.raises(RunError, match="begun with: seed was 0, got 1"):
        run("iterative, no training", run_dir=tmp_path, resume=True, seed=1)
    short = {"rounds": 1, "epochs": 0, "images": 16, "run_dir": tmp_path / "norm"}
    iterative_magnitude(net(), data(), 0.5, criterion="magnitude(2)", **short)
    with pytest.raises(RunError, match=r"criterion was 'magnitude\(2\)', got 'magnitude\(3\)'"):
        iterative_magnitude(net(), data(), 0.5, criterion="magnitude(3)", resume=True, **short)
    with pytest.raises(BudgetError):
        molchanov(net(), data(), "macs=1%", criterion="l1", run_dir=tmp_path / "failed")
    assert not (tmp_path / "failed").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").touch()
    with pytest.raises(RunError, match="must be new or empty, it holds 'letter.txt'"):
        run("iterative", run_dir=other, resume=True)


def test_rewinding_restores_the_early_weights_exactly() -> None:
    seen: dict[int, dict[str, torch.Tensor]] = {}
    masks: dict[int, Masks] = {}

    class Spy(Trainer):
        def session(self, model: Any, *arguments: Any, **settings: Any) -> Any:
            seen[len(seen)] = {name: value.clone() for name, value in model.state_dict().items()}
            masks[len(masks)] = settings["masks"]
            return super().session(model, *arguments, **settings)

    start = net()
    lottery_ticket(start, data(), 0.75, rounds=2, epochs=2, trainer=Spy(), images=16)
    assert len(seen) == 3 and masks[1].sparsity < masks[2].sparsity == pytest.approx(0.75, abs=0.01)
    for number, weights in seen.items():
        for name, want in start.state_dict().items():
            mask = masks[number].get(name)
            expected = want if mask is None else want * mask
            assert torch.equal(weights[name], expected), (number, name)


def test_rewinding_to_an_epoch() -> None:
    """The early weights are those that a training of that length has, and the learning rate goes on there."""
    starts: list[dict[str, torch.Tensor]] = []
    rates: list[float] = []

    class Spy(Trainer):
        def session(self, model: Any, *arguments: Any, **settings: Any) -> Any:
            starts.append({name: value.clone() for name, value in model.state_dict().items()})
            return super().session(model, *arguments, **settings)

    def scheduler(optimizer: Any) -> Any:
        def rate(step: int) -> float:
            rates.append(1 - step / 12)
            return rates[-1]

        return torch.optim.lr_scheduler.LambdaLR(optimizer, rate)

    lottery_ticket(
        net(), data(), 0.5, rounds=1, epochs=3, rewind_epoch=1, trainer=Spy(scheduler=scheduler), images=16
    )
    model = net()
    trainer = Trainer(scheduler=scheduler)
    with trainer.session(model, data().train, 3, seed=0) as session:
        session.run_epoch()
    for name, want in model.state_dict().items():
        kept = starts[1][name] != 0 if name in WEIGHTS else torch.ones_like(want, dtype=torch.bool)
        assert torch.equal(starts[1][name][kept], want[kept])


def test_the_random_ticket_has_the_sparsity_of_the_ticket() -> None:
    masks: list[Masks] = []

    class Spy(Trainer):
        def session(self, model: Any, *arguments: Any, **settings: Any) -> Any:
            masks.append(settings["masks"])
            return super().session(model, *arguments, **settings)

    result = lottery_ticket(
        net(), data(), 0.5, rounds=1, epochs=1, control="random", granularity="kernel", exclude=["linear*"],
        trainer=Spy(), images=16,
    )  # fmt: skip
    ticket, control = masks[1:]
    assert ticket == result.masks != control
    assert ticket.sparsities == control.sparsities
    assert result.history[-1]["control"] == "random"


def test_masks_hold_and_patterns_too() -> None:
    result = iterative_magnitude(
        net(), data(), granularity="2:4", exclude=["conv1*"], epochs=1, rounds=3, images=16
    )
    assert len(result.history) == 1 and set(result.masks or ()) == {"conv2.weight", "linear.weight"}
    for name in result.masks or ():
        assert follows(result.model.get_parameter(name) != 0, 2, 4)
    blocks = iterative_magnitude(
        net(), data(), 0.5, granularity="2x2", include=["conv2*"], epochs=0, rounds=1, images=16
    )
    assert blocks.sparsity == 0.5
    risen = iterative_magnitude(
        net(), data(), schedule=GradualPruning(0.5, 3), epochs=0, criterion="l1", images=16
    )
    assert [round(row["target"], 4) for row in risen.history] == [0.3519, 0.4815, 0.5]


def test_the_floor_keeps_a_layer_alive() -> None:
    def prune(floor: float) -> Masks:
        model = net()
        with torch.no_grad():
            model.conv1.weight.mul_(1e-6)
        result = iterative_magnitude(
            model, data(), 0.5, rounds=1, epochs=0, scope="global", floor=floor, images=16
        )
        assert result.masks is not None and result.sparsity == 0.5
        return result.masks

    assert prune(0.0).sparsities["conv1.weight"] == 1.0
    assert int(prune(0.25)["conv1.weight"].sum()) == 14


def test_gradual_rises_during_training() -> None:
    seen: list[float] = []
    gradual(
        net(), data(), 0.8, epochs=4, every=1, end=1.0, images=16,
        on_progress=lambda e: seen.append(e.row["sparsity"]) if e.stage == "epoch" else None,
    )  # fmt: skip
    want = [round(GradualPruning(0.8, 16)(step) * 518) / 518 for step in (4, 8, 12, 16)]
    assert seen == pytest.approx(want, abs=0.003)


def test_molchanov_stops_at_the_accuracy_floor() -> None:
    values = iter([0.9, 0.9, 0.8, 0.85, 0.5, 0.4, 1.0])
    result = molchanov(
        net(), data(), accuracy_floor=0.7, criterion="l1", share=0.15, epochs=1, images=16,
        score=lambda model: next(values),
    )  # fmt: skip
    assert [row.get("undone", False) for row in result.history] == [False, False, True]
    assert result.plan is not None and 8 + sum(result.plan.widths.values()) == result.history[1]["units"]


def test_molchanov_ends_where_nothing_is_left_to_remove() -> None:
    result = molchanov(
        net(), data(), accuracy_floor=0.0, criterion="l1", share=0.5, epochs=0, lower=0.5, images=16
    )
    assert result.plan is not None and result.plan.widths == {"conv1.weight": 3, "conv2.weight": 4}


def test_useless_channels_go_first() -> None:
    model = net()
    with torch.no_grad():
        model.conv1.weight[[1, 4]] = 1e-5
        model.conv2.weight[[0, 3, 7]] = 1e-5
    result = molchanov(
        model, data(), accuracy_floor=0, criterion="l1", share=0.5, epochs=0, lower=0.5, images=16
    )
    assert result.plan is not None
    assert not {1, 4} & set(result.plan.groups["conv1.weight"].keep)
    assert not {0, 3, 7} & set(result.plan.groups["conv2.weight"].keep)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: iterative_magnitude(net(), data(), 1.2), ArgumentError, "final must be a share in 0..1"),
        (lambda: iterative_magnitude(net(), data()), ArgumentError, "sparsity must be the share of weights"),
        (lambda: iterative_magnitude(net(), data(), 0.5, rounds=0), ArgumentError, "rounds must be a whole"),
        (
            lambda: iterative_magnitude(net(), data(), 0.3, granularity="2:4"),
            ArgumentError,
            "must be 0.5 \\(or None\\) for this N:M",
        ),
        (
            lambda: iterative_magnitude(net(), data(), 0.5, criterion="geometric_median"),
            ArgumentError,
            "must score single weights",
        ),
        (
            lambda: iterative_magnitude(net(), data(), 0.5, scope="all"),  # type: ignore[arg-type]
            ArgumentError,
            "scope must be",
        ),
        (
            lambda: iterative_magnitude(net(), data(), 0.999, scope="global", rounds=1, epochs=0, images=16),
            ArgumentError,
            "sparsity must be at most 0.98",
        ),
        (
            lambda: iterative_magnitude(net(), data(), 0.5, epoch=3),  # type: ignore[call-arg]
            ArgumentError,
            "no argument 'epoch'",
        ),
        (
            lambda: iterative_magnitude(net(), data(), 0.5, resume=True),
            ArgumentError,
            "run_dir to go on with",
        ),
        (
            lambda: iterative_magnitude(net(), data(), 0.5, exclude=["conv3.weight"], images=16),
            ArgumentError,
            "exclude: no tensor matches 'conv3.weight'; did you mean 'conv2.weight'.*: conv1.weight, conv2",
        ),
        (
            lambda: gradual(net(), data(), 0.5, include="conv*", images=16),
            ArgumentError,
            "include must be a sequence of names or patterns",
        ),
        (
            lambda: lottery_ticket(net(), data(), 0.5, epochs=2, rewind_epoch=3),
            ArgumentError,
            "rewind_epoch must not exceed epochs=2",
        ),
        (lambda: molchanov(net(), data()), ArgumentError, "a budget or an accuracy_floor"),
        (lambda: molchanov(net(), data(), "macs=1%", criterion="l1"), BudgetError, "cannot be met"),
        (
            lambda: molchanov(
                net(),
                DataSplits(batches(1, 0), [torch.zeros(4, 1, 6, 6)]),
                accuracy_floor=0.5,
                criterion="l1",
            ),
            DataError,
            "must have labels",
        ),
        (lambda: gradual(net(), data(), 0.5, begin=0.5, end=0.2), ArgumentError, "begin and end must be"),
        (
            lambda: sparse_training(net(), data(), "macs=50%", penalty="l3"),  # type: ignore[arg-type]
            ArgumentError,
            "penalty must be one of",
        ),
        (
            lambda: at_init(net(), data(), 0.5, method="grasp"),  # type: ignore[arg-type]
            ArgumentError,
            "method must be one of snip",
        ),
        (
            lambda: optimal_brain(net(), data(), 0.5, variant="x"),  # type: ignore[arg-type]
            ArgumentError,
            "variant must be",
        ),
        (lambda: pipeline("iterative_magnitud"), ArgumentError, "did you mean 'iterative_magnitude'"),
    ],
)
def test_bad_input(call: Any, error: type[AutopruneError], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
