"""What one candidate costs beside the bare forward pass of the network that it evaluates.

PYTHONPATH=../shared/cifar python -m benchmarks.candidate --model models:resnet56 --data data:splits
"""

import argparse
import statistics
import time

import torch

from autoprune.calibration import Calibration, calibrate
from autoprune.candidate import CandidateEvaluator
from autoprune.criteria import rank
from autoprune.data import FirstImages
from autoprune.graph import trace
from autoprune.locate import call
from autoprune.score import KL, SearchImages
from autoprune.score.batches import as_channels_last, resident
from benchmarks.compare import README
from benchmarks.results import default, publish, source, table
from benchmarks.speed import CPU, drawn, forward, seconds


def size_of(calibration: Calibration) -> int:
    """Bytes that a calibration holds."""
    return sum(m.second.nbytes + m.mean.nbytes for m in calibration.moments.values())


def main() -> None:
    """Measure, interleaved: a candidate with nothing cached, and the bare passes of the same network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--search-images", type=int, default=1000)
    parser.add_argument("--fit-images", type=int, default=default("fit_images"))
    parser.add_argument("--calibration-images", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, data = call(args.model, "--model"), call(args.data, "--data")
    first = {
        name: FirstImages(loader, count, seed=args.seed, name=name)
        for name, loader, count in (
            ("calibration", data.train, args.calibration_images),
            ("fit", data.train, args.fit_images),
            ("search", data.search_val, args.search_images),
        )
    }
    graph = trace(model, next(iter(first["search"])).inputs[:1])
    images = list(first["calibration"])
    start = time.perf_counter()
    calibration = calibrate(graph, model, images, seed=args.seed)
    calibrating = time.perf_counter() - start
    order = rank(graph, model, "obs", calibration)
    score = KL(SearchImages(model, first["search"]))
    evaluator = CandidateEvaluator(graph, model, calibration, order, score, first["fit"], memo=0)
    batches = [*score.images.batches, *map(as_channels_last, resident(first["fit"], CPU, 128))]
    ratios, candidate, bare = [], [], []
    for widths in drawn(graph, args.draws, args.seed):
        candidate.append(seconds(lambda w=widths: evaluator.evaluate(w)))  # type: ignore[misc]
        network = evaluator.build(widths)
        bare.append(seconds(lambda n=network, b=batches: forward(n, b)))  # type: ignore[misc]
        ratios.append(candidate[-1] / bare[-1])
    rows = [
        ["one candidate, nothing cached", f"{statistics.median(candidate):.2f} s"],
        ["bare forward pass, the same sliced network and images", f"{statistics.median(bare):.2f} s"],
        ["ratio, median (smallest to largest)",
         f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"],
        ["calibration, one pass", f"{calibrating:.1f} s"],
        ["calibration, memory held", f"{size_of(calibration) / 2**20:.0f} MiB"],
    ]  # fmt: skip
    text = (
        f"`{args.model.rpartition(':')[2]}`, {args.search_images} search images, {args.fit_images} for "
        f"the re-fit of the candidate, {args.calibration_images} calibration images, {args.draws} draws of "
        f"random widths between a quarter and three quarters, interleaved:\n\n{table(['', ''], rows)}\n\n"
        f"{source('candidate', args)}"
    )
    print(text)
    publish(README, f"candidate {args.model}", text)


if __name__ == "__main__":
    main()
