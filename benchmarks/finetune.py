"""Does the order before fine-tuning hold after it? Identical fine-tuning of what `benchmarks.compare` found.

PYTHONPATH=../shared/cifar python -m benchmarks.finetune --model models:resnet20 --data data:splits
"""

import argparse
import functools
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import autoprune
from autoprune.locate import call
from autoprune.sensitivity import spearman
from autoprune.train import accuracy
from benchmarks.compare import ONE_SHOT, README, SEARCHES, runs_of
from benchmarks.results import Record, cell, publish, source, spread, table


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random crops of the images padded by 4, and random mirroring: the usual augmentation of CIFAR."""
    n, _, height, width = images.shape
    padded = functional.pad(images, (4, 4, 4, 4))
    top, left = torch.randint(0, 9, (2, n), generator=generator)
    rows = (top[:, None] + torch.arange(height))[:, None, :, None]
    columns = (left[:, None] + torch.arange(width))[:, None, None, :]
    mirrored = torch.rand(n, generator=generator) < 0.5
    columns = torch.where(mirrored[:, None, None, None], columns.flip(-1), columns)
    return padded[torch.arange(n)[:, None, None, None], torch.arange(3)[:, None, None], rows, columns]


def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int, seed: int, lr: float = 0.02) -> None:
    """SGD with momentum and a cosine to zero, cross-entropy, batches of 128, bfloat16 autocast."""
    generator = torch.Generator().manual_seed(seed)
    model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = epochs * (len(images) // 128)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for index in order.split(128)[: len(images) // 128]:
            batch = augment(images[index], generator).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                loss = functional.cross_entropy(model(batch), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        logging.info("epoch %d loss %.4f", epoch + 1, float(loss.detach()))
    model.eval()


def finetuned(
    run_dir: Path, model: nn.Module, data: Any, images: Tensor, labels: Tensor, epochs: int, seed: int
) -> Record:
    """Load what a search returned, fine-tune it, and measure it before and after."""
    pruned = autoprune.load(run_dir / "pruned", model)
    before = accuracy(pruned, data.test)
    train(pruned, images, labels, epochs, seed)
    return {"before": before, "after": accuracy(pruned, data.test)}


def main() -> None:
    """Fine-tune every candidate of every seed and put the table into `benchmarks/README.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--budget", default="macs=50%")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--agents", nargs="+", default=[*ONE_SHOT, *SEARCHES])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("runs/cells/compare"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    model, data = call(args.model, "--model"), call(args.data, "--data")
    folder = args.folder / args.model.rpartition(":")[2] / args.budget
    batches = list(data.train)
    images, labels = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
    del batches
    records: dict[str, list[Record]] = {}
    for seed in args.seeds:
        for name in args.agents:
            make = functools.partial(
                finetuned, runs_of(args) / f"{name}-{seed}", model, data, images, labels, args.epochs, seed
            )
            records.setdefault(name, []).append(
                cell(folder / f"finetune-{args.epochs}", f"{name}-{seed}", make)
            )
            logging.info("%s seed %d: %s", name, seed, records[name][-1])
    text = render(args, records)
    print(text)
    publish(README, f"finetune {args.model} {args.budget}", text)


def render(args: argparse.Namespace, records: dict[str, list[Record]]) -> str:
    """Before and after, and how well the one ranks the other."""
    rows = [
        [
            name,
            spread([r["before"] for r in found], scale=100),
            spread([r["after"] for r in found], scale=100),
        ]
        for name, found in records.items()
    ]
    every = [r for found in records.values() for r in found]
    pearson = torch.corrcoef(torch.tensor([[r["before"] for r in every], [r["after"] for r in every]]))[0, 1]
    rank = spearman([r["before"] for r in every], [r["after"] for r in every])
    name = args.model.rpartition(":")[2]
    return (
        f"`{name}` at {args.budget}, test accuracy before and after {args.epochs} epochs of "
        f"identical fine-tuning, {len(args.seeds)} seeds:\n\n"
        f"{table(['method', 'before', 'after'], rows)}\n\n"
        f"Over all {len(every)} networks: correlation {pearson:.2f}, rank correlation {rank:.2f}.\n\n"
        f"{source('finetune', args)}"
    )


if __name__ == "__main__":
    main()
