"""How the time of a trace grows with the number of layers: plain residual networks, one core.

python -m benchmarks.trace_time
"""

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.graph.export import export
from autoprune.graph.trace import trace_program
from benchmarks.compare import README
from benchmarks.results import machine, publish, table

DEPTHS = (125, 250, 500, 1000)


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, width, height, width of the image) in and out."""
        y: Tensor = F.relu(self.norms[0](self.first(x)))
        return F.relu(x + self.norms[1](self.second(y)))


def residual(depth: int, width: int = 32) -> nn.Module:
    """A residual network of `depth` layers with weights, convolutions but for the last."""
    blocks = [Block(width) for _ in range((depth - 2) // 2)]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), *blocks, *head)


def measure(depth: int) -> tuple[float, float, int]:
    """Processor seconds of `torch.export`, of everything that a trace does, and the prunable groups."""
    model, image = residual(depth), torch.zeros(1, 3, 8, 8)
    start = time.process_time()
    export(model, image)
    between = time.process_time()
    found = trace_program(model, image)
    return between - start, time.process_time() - between, len(found.graph.prunable)


def main() -> None:
    """Measure all depths and publish the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS)
    depths = parser.parse_args().depths
    torch.set_num_threads(1)
    measure(10)  # warm up
    rows = []
    for depth in depths:
        exported, traced, groups = measure(depth)
        rows.append(
            [str(depth), str(groups), f"{exported:.2f}", f"{traced:.2f}", f"{1000 * traced / depth:.1f}"]
        )
        print(rows[-1], flush=True)
    header = ["layers", "prunable groups", "export alone, s", "trace, s", "trace per layer, ms"]
    text = (
        "Plain residual networks, width 32, processor time of one thread; a trace contains an export:\n\n"
        f"{table(header, rows)}\n\n    python -m benchmarks.trace_time\n\n{machine()}"
    )
    publish(README, "trace time", text)


if __name__ == "__main__":
    main()
