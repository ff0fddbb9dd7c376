"""How the time of a trace grows with the number of layers: plain residual networks, one core.

    python -m benchmarks.trace_time

Cells are kept in `--folder`, so that a stopped benchmark goes on; the curve is drawn beside the page.
"""

import argparse
import functools
import time
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.graph.export import export
from autoprune.graph.trace import trace_program
from benchmarks.compare import README
from benchmarks.results import Record, cell, machine, publish, save_svg, table

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


def measure(depth: int) -> Record:
    """Processor seconds of `torch.export`, of everything that a trace does, and the prunable groups."""
    model, image = residual(depth), torch.zeros(1, 3, 8, 8)
    start = time.process_time()
    export(model, image)
    between = time.process_time()
    found = trace_program(model, image)
    seconds = time.process_time() - between
    return {"export": between - start, "trace": seconds, "groups": len(found.graph.prunable)}


def plot(found: Mapping[int, Record], path: Path) -> None:
    """Draw seconds by layers, with the straight line through the first point and the origin."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    depths = list(found)
    figure, axes = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
    axes.plot(depths, [found[d]["trace"] for d in depths], "o-", label="trace")
    axes.plot(depths, [found[d]["export"] for d in depths], "s-", label="torch.export alone")
    slope = found[depths[0]]["trace"] / depths[0]
    axes.plot([0, depths[-1]], [0, slope * depths[-1]], "k:", label="linear")
    axes.set(xlabel="layers", ylabel="processor seconds", xlim=(0, None), ylim=(0, None))
    axes.legend(frameon=False)
    save_svg(figure, path)
    pyplot.close(figure)


def render(found: Mapping[int, Record], picture: str) -> str:
    """The table, and the curve."""
    rows = [
        [
            str(depth),
            str(record["groups"]),
            f"{record['export']:.2f}",
            f"{record['trace']:.2f}",
            f"{1000 * record['trace'] / depth:.1f}",
        ]
        for depth, record in found.items()
    ]
    header = ["layers", "prunable groups", "export alone, s", "trace, s", "trace per layer, ms"]
    return (
        "Plain residual networks, width 32, processor time of one thread; a trace contains an export:\n\n"
        f"{table(header, rows)}\n\n![Seconds of a trace by layers]({picture})\n\n"
        f"    python -m benchmarks.trace_time\n\n{machine()}"
    )


def main() -> None:
    """Measure all depths and publish table and curve."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/trace_time"))
    parser.add_argument("--readme", type=Path, default=README)
    args = parser.parse_args()
    torch.set_num_threads(1)
    missing = [depth for depth in args.depths if not (args.folder / f"{depth}.json").exists()]
    if missing:
        measure(10)  # warm up
    found: dict[int, Record] = {}
    for depth in args.depths:
        found[depth] = cell(args.folder, str(depth), functools.partial(measure, depth))
        print(depth, found[depth], flush=True)
    picture = args.readme.with_name("trace_time.svg")
    plot(found, picture)
    publish(args.readme, "trace time", render(found, picture.name))


if __name__ == "__main__":
    main()
