"""What a learned policy is worth on networks that it has not seen: zero-shot, few-shot, and a whole family.

    PYTHONPATH=../shared/cifar python -m benchmarks.transfer --models models:resnet20 models:resnet56 \
        --data data:splits
    python -m benchmarks.transfer --family

With two networks: a policy is learned on each (`autoprune.learn_policy`, all `--budgets` at once) and applied
to the other, without a search (zero-shot) and as the beginning of one (few-shot). With `--family`: several
small networks are trained on scikit-learn's digits; each is left out in turn, and a policy learned on the
others is applied to it. Every result is the network that `autoprune.search` returns, before any fine-tuning;
the test images are looked at behind that. Policies and cells are kept in `--runs` and `--folder`, so that a
stopped benchmark goes on.
"""

import argparse
import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import autoprune
from autoprune.agents import Policy, PolicyAgent
from autoprune.locate import call
from autoprune.run.learn import Lesson, learn_policy
from autoprune.train import accuracy, finetune
from benchmarks.results import Record, cell, machine, publish, spread, table, whole

README = Path(__file__).parent / "README.md"
METHODS = ("uniform", "greedy", "zero-shot")
MARKS = (1, 2, 5, 10, 20, 40, 100, 200)
"""Evaluations at which the curves of the few-shot table are read."""


class FamilyNet(nn.Module):
    """A residual or plain network for digits.

    Args:
        stages: Channels of every stage; the resolution is halved between them.
        blocks: Blocks (residual) or convolutions (plain) per stage.
        residual: Which of the two.
    """

    def __init__(self, stages: Sequence[int], blocks: int, residual: bool = True) -> None:
        super().__init__()
        from autoprune.demo.network import Block

        previous, body = stages[0], list[nn.Module]()
        self.stem = _convolution(1, previous)
        for stage, channels in enumerate(stages):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                make = Block if residual else _convolution
                body.append(make(previous, channels, stride))
                previous = channels
        self.body, self.head = nn.Sequential(*body), nn.Linear(previous, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 1, 8, 8) to logits (N, 10)."""
        logits: Tensor = self.head(self.body(self.stem(x)).mean((2, 3)))
        return logits


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    layer = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


FAMILY: Mapping[str, Callable[[], FamilyNet]] = {
    "residual 16-32, 2 blocks": lambda: FamilyNet((16, 32), 2),
    "residual 24-48, 1 block": lambda: FamilyNet((24, 48), 1),
    "residual 12-24-24, 2 blocks": lambda: FamilyNet((12, 24, 24), 2),
    "residual 16-32, 3 blocks": lambda: FamilyNet((16, 32), 3),
    "plain 16-32-32, 2 layers": lambda: FamilyNet((16, 32, 32), 2, residual=False),
}


def member(name: str, data: Any, seed: int) -> nn.Module:
    """A trained member of the family; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FAMILY[name]()
    finetune(network, data.train, 15, lr=0.1, seed=seed)
    return network.eval()


def policy_of(folder: Path, lessons: Callable[[], Sequence[Lesson]], episodes: int, seed: int) -> Policy:
    """The policy in `folder`, or learned and stored there."""
    if not folder.exists():
        start = time.perf_counter()
        policy = learn_policy(lessons(), episodes=episodes, seed=seed)
        logging.info("learned %s in %.0f s", folder, time.perf_counter() - start)
        policy.save(folder)
    return Policy.load(folder)


def once(model: nn.Module, data: Any, budget: str, method: str, seed: int, policy: Policy | None) -> Record:
    """What an allocation without a search gives: one evaluation, re-fitted."""
    agent: Any = method if policy is None else functools.partial(PolicyAgent, policy=policy)
    started = time.perf_counter()
    result = whole(
        autoprune.search(model, None, data, budget, agent=agent, episodes=1, seed=seed, baselines=())
    )
    return {
        "score": result.best.evaluation.score,
        "refit_score": result.found.evaluation.score,
        "test": accuracy(result.model, data.test),
        "macs": result.found.costs["macs"] / result.dense.costs["macs"],
        "seconds": time.perf_counter() - started,
    }


def searched(
    model: nn.Module, data: Any, budget: str, episodes: int, seed: int, policy: Policy | None
) -> Record:
    """A search from scratch, or one that begins with a policy: the best score after every episode."""
    started = time.perf_counter()
    result = whole(
        autoprune.search(
            model, None, data, budget, episodes=episodes, seed=seed, baselines=(), init_policy=policy
        )
    )
    best = [max(e.evaluation.score for e in result.history[: n + 1]) for n in range(len(result.history))]
    return {
        "curve": best,
        "refit_score": result.found.evaluation.score,
        "test": accuracy(result.model, data.test),
        "seconds": time.perf_counter() - started,
    }


def zero_shot(
    folder: Path, model: nn.Module, data: Any, budgets: Sequence[str], seed: int, policy: Policy
) -> dict[str, dict[str, Record]]:
    """Every method at every budget on one network."""
    found: dict[str, dict[str, Record]] = {}
    for budget in budgets:
        for method in METHODS:
            given = policy if method == "zero-shot" else None
            make = functools.partial(once, model, data, budget, method, seed, given)
            record = cell(folder, f"{method}-{budget}-{seed}", make)
            found.setdefault(budget, {})[method] = record
            logging.info("%s %s %s: test %.2f", folder.name, budget, method, 100 * record["test"])
    return found


def pairs(args: argparse.Namespace) -> None:
    """Both directions between two networks."""
    data = call(args.data, "--data")
    models = {text.rpartition(":")[2]: call(text, "--models") for text in args.models}
    names = list(models)
    zero, few = [], []
    for source, target in ((names[0], names[1]), (names[1], names[0])):
        zeros, scratch, begun = [], [], []
        for seed in args.seeds:
            policy = policy_of(
                args.runs / f"{source}-{args.episodes}-{seed}",
                lambda source=source: [Lesson(models[source], None, data, tuple(args.budgets))],  # type: ignore[misc]
                args.episodes,
                seed,
            )
            folder = args.folder / f"{source}-to-{target}"
            zeros.append(zero_shot(folder, models[target], data, args.budgets, seed, policy))
            share = max(1, args.evaluations // 5)
            for kept, name, count, given in (
                (scratch, "scratch", args.evaluations, None),
                (begun, "few-shot", share, policy),
            ):
                make = functools.partial(
                    searched, models[target], data, args.few_shot_budget, count, seed, given
                )
                kept.append(cell(folder, f"{name}-{args.few_shot_budget}-{count}-{seed}", make))
        zero += zero_rows(f"{source} to {target}", zeros)
        few += few_rows(f"{source} to {target}", scratch, begun)
    command = (
        f"PYTHONPATH=../shared/cifar python -m benchmarks.transfer --models {' '.join(args.models)} "
        f"--data {args.data}"
    )
    _publish("transfer zero-shot", zero_text(args, zero, command))
    _publish("transfer few-shot", few_text(args, few, command))


def zero_rows(label: str, found: Sequence[dict[str, dict[str, Record]]]) -> list[list[str]]:
    """A row per budget: test accuracy of every method, and in how many seeds zero-shot is not beaten."""
    rows = []
    for budget in found[0]:
        tests = {m: [100 * one[budget][m]["test"] for one in found] for m in METHODS}
        scores = {m: [one[budget][m]["refit_score"] for one in found] for m in METHODS}
        held = sum(
            z >= max(u, g)
            for z, u, g in zip(*(tests[m] for m in ("zero-shot", "uniform", "greedy")), strict=True)
        )
        cells = [f"{spread(tests[m])} ({spread(scores[m], 3)})" for m in METHODS]
        rows.append([label, budget, *cells, f"{held} of {len(found)}"])
    return rows


def few_rows(label: str, scratch: Sequence[Record], begun: Sequence[Record]) -> list[list[str]]:
    """The best score after so many evaluations, from scratch and with a policy, and of what is returned."""
    rows = []
    for name, records in (("from scratch", scratch), ("with the policy", begun)):
        curves = [record["curve"] for record in records]
        cells = [spread([c[n - 1] for c in curves], 4) if n <= len(curves[0]) else "" for n in MARKS]
        returned = spread([record["refit_score"] for record in records], 4)
        rows.append([label, name, *cells, returned, spread([100 * record["test"] for record in records])])
    return rows


def zero_text(args: argparse.Namespace, rows: Sequence[Sequence[str]], command: str) -> str:
    """The table of zero-shot results."""
    head = ["learned on, applied to", "budget", *METHODS, "zero-shot at least both"]
    return (
        f"A policy learned with {args.episodes} evaluations at {', '.join(args.budgets)} on one network, "
        "applied to another without a search: test accuracy before fine-tuning (and -KL on the search "
        f"images), {len(args.seeds)} seeds:\n\n{table(head, rows)}\n\n    {command}\n\n{machine()}"
    )


def few_text(args: argparse.Namespace, rows: Sequence[Sequence[str]], command: str) -> str:
    """The table of few-shot results."""
    head = ["learned on, searched on", "search", *(f"@{n}" for n in MARKS), "returned", "test"]
    return (
        f"The same policies as the beginning of a search at {args.few_shot_budget}, with a fifth of the "
        "evaluations: best score (-KL on the search images) after n evaluations, score and test accuracy of "
        f"the network that is returned (re-fitted), {len(args.seeds)} seeds:\n\n{table(head, rows)}\n\n"
        f"    {command}\n\n{machine()}"
    )


def family(args: argparse.Namespace) -> None:
    """Leave one network of the family out, learn on the others, apply to it."""
    from autoprune.demo import splits

    rows, names = [], list(FAMILY)[: args.members]
    for left in names:
        found = []
        for seed in args.seeds:
            data = splits(seed)
            others = [name for name in names if name != left]
            label = f"family-{args.episodes}-{names.index(left)}-of-{len(names)}-{seed}"
            policy = policy_of(
                args.runs / label,
                lambda data=data, others=others, seed=seed: [  # type: ignore[misc]
                    Lesson(member(n, data, seed), None, data, tuple(args.budgets)) for n in others
                ],
                args.episodes,
                seed,
            )
            folder = args.folder / "family" / f"{args.episodes}-{names.index(left)}-of-{len(names)}"
            found.append(zero_shot(folder, member(left, data, seed), data, args.budgets, seed, policy))
        rows.append(family_row(left, found))
        logging.info("%s", rows[-1])
    command = "python -m benchmarks.transfer --family"
    head = ["left out", *(f"{m}, -KL" for m in METHODS), *(f"{m}, test" for m in METHODS)]
    _publish(
        "transfer family",
        f"A family of {len(names)} small networks trained on digits, each left out in turn; a policy learned "
        f"on the others with {args.episodes} evaluations, applied to it without a search at "
        f"{', '.join(args.budgets)} (mean over the budgets; {len(args.seeds)} seeds):\n\n"
        f"{table(head, rows)}\n\n    {command}\n\n{machine()}",
    )


def family_row(name: str, found: Sequence[dict[str, dict[str, Record]]]) -> list[str]:
    """Means over the budgets, and their spread over the seeds."""

    def means(method: str, key: str) -> list[float]:
        return [sum(cells[method][key] for cells in one.values()) / len(one) for one in found]

    scores = [spread(means(m, "refit_score"), 4) for m in METHODS]
    return [name, *scores, *(spread(means(m, "test"), scale=100) for m in METHODS)]


def _publish(section: str, text: str) -> None:
    print(text)
    publish(README, section, text)


def main() -> None:
    """Measure, and put the tables into `benchmarks/README.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs=2, metavar="MODULE:CALLABLE")
    parser.add_argument("--data", metavar="MODULE:CALLABLE")
    parser.add_argument("--family", action="store_true")
    parser.add_argument("--members", type=int, default=len(FAMILY), help="of the family")
    parser.add_argument("--budgets", nargs="+", default=["macs=30%", "macs=50%", "macs=70%"])
    parser.add_argument("--few-shot-budget", default="macs=50%")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--episodes", type=int, default=150, help="evaluations that a policy is learned with")
    parser.add_argument("--evaluations", type=int, default=200, help="of the search from scratch")
    parser.add_argument("--folder", type=Path, default=Path("runs/cells/transfer"))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/transfer"), help="for policies")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if not args.family and (args.models is None or args.data is None):
        parser.error("give --family, or --models and --data")
    torch.set_num_threads(args.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if args.family:
        family(args)
    if args.models is not None:
        pairs(args)


if __name__ == "__main__":
    main()
