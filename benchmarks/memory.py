"""Peak memory of a search and of its workers: the proportional share (PSS) of all its processes."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

EPISODES = 12
STARTED = "started"
"""What the process prints when network and images are there and the search begins."""


def share(pid: int) -> int:
    """Bytes of a process and of those that it started; pages that several hold are divided among them."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
        tasks = list(Path(f"/proc/{pid}/task").glob("*/children"))
        children = {int(child) for task in tasks for child in task.read_text().split()}
    except OSError:  # it has just ended
        return total
    return total + sum(share(child) for child in children)


def run(model: str, data: str, workers: int) -> dict[str, float]:
    """The peak of a search in a process of its own, in MiB, and what it was before."""
    command = [sys.executable, "-m", "benchmarks.memory", model, data, str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline().strip() == STARTED
        idle = peak = share(process.pid)
        while process.poll() is None:
            peak = max(peak, share(process.pid))
            time.sleep(0.05)
        if process.returncode:
            raise RuntimeError(f"the search ended with {process.returncode}")
        moments = json.loads(process.stdout.read())["moments"]
    return {"idle": idle / 2**20, "peak": peak / 2**20, "moments": moments / 2**20}


def memory(model: nn.Module, data: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Peaks of the same search with one worker and with four."""
    del model, data
    one, four = run(args.model, args.data, 1), run(args.model, args.data, 4)
    return {"one": one["peak"], "four": four["peak"], "idle": one["idle"], "moments": one["moments"]}


def main() -> None:
    """The search that is watched."""
    import autoprune
    from autoprune.calibration import calibrate
    from autoprune.data import FirstImages
    from autoprune.graph import trace
    from autoprune.locate import call

    torch.set_num_threads(1)
    source, data_source, workers = sys.argv[1:]
    model, data = call(source, "model"), call(data_source, "data")
    image = next(iter(data.search_val))[0][:1]
    print(STARTED, flush=True)
    autoprune.search(model, image, data, "macs=50%", episodes=EPISODES, workers=int(workers))
    calibration = calibrate(
        trace(model, image), model, FirstImages(data.train, 16, seed=0, name="data.train")
    )
    moments = sum(m.second.nbytes + m.mean.nbytes for m in calibration.moments.values())
    print(json.dumps({"moments": moments}))


if __name__ == "__main__":
    main()
