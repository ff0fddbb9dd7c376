"""Run directories made by hand: everything that a report reads, without a network or a search."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from autoprune.run.checkpoint import Checkpoint
from autoprune.run.config import DataRecord, ModelRecord, RunConfig, Settings, StudyRecord
from autoprune.run.directory import RunDirectory
from autoprune.run.outcome import CurveRecord, GroupRecord, MeasuredRecord, Outcome

SETTINGS: dict[str, Any] = {
    "budget": "macs=50%", "agent": "ddpg", "episodes": 40, "criterion": "obs", "reward": "kl", "seed": 3,
    "device": None, "round_to": 1, "lower": 0.1, "search_images": 512, "calibration_images": 2000,
    "fit_images": 256, "baselines": ("uniform", "greedy"),
}  # fmt: skip

SIZES = {"stem.weight": 16, "body.0.conv.weight": 32, "body.1.conv.weight": 64}
LOCKED = "head.weight"


def macs(widths: dict[str, int]) -> int:
    return sum(100 * width for width in widths.values())


def measured(name: str, widths: dict[str, int], score: float, labeled: bool = True) -> MeasuredRecord:
    metrics = {"kl": -score} | ({"accuracy": 0.98 + 0.1 * score} if labeled else {})
    costs = {"macs": macs(widths), "params": macs(widths) // 10}
    return MeasuredRecord(name=name, widths=widths, costs=costs, score=score, metrics=metrics)


def row(number: int, widths: dict[str, int], score: float, labeled: bool = True) -> dict[str, Any]:
    made = measured("", widths, score, labeled)
    return {
        "number": number,
        "widths": list(widths.values()),
        "reward": score,
        "score": score,
        "metrics": made.metrics,
        "costs": made.costs,
        "seconds": 0.5,
    }


def config(sizes: dict[str, int], source: str | None = "zoo:net", **settings: Any) -> RunConfig:
    return RunConfig(
        settings=Settings(**SETTINGS | settings),
        groups=sizes,
        model=ModelRecord(source=source, shapes={}, sha256="0" * 64, inputs_sha256="1" * 64),
        data=DataRecord(source=source and "zoo:data", calibration_sha256="2" * 64, search_sha256="3" * 64),
        study=StudyRecord(storage=None, name="autoprune", complete=True),
    )


def history(sizes: dict[str, int], count: int, labeled: bool = True) -> list[dict[str, Any]]:
    """Scores that rise with noise, a few bad ones among them."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        widths = {name: int(rng.integers(1, max(1, size // 2) + 1)) for name, size in sizes.items()}
        score = -0.5 + 0.3 * number / count + 0.05 * rng.normal() - 3.0 * (number % 9 == 4)
        rows.append(row(number, widths, float(score), labeled))
    return rows


def outcome(sizes: dict[str, int], rows: list[dict[str, Any]], labeled: bool, **changes: Any) -> Outcome:
    best = max(rows, key=lambda r: r["reward"])
    widths = dict(zip(sizes, best["widths"], strict=True))
    half = {name: max(1, size // 2) for name, size in sizes.items()}
    groups = [
        GroupRecord(name=name, size=size, reason="", note="", macs=1 / (len(sizes) + 1), params=0.2)
        for name, size in sizes.items()
    ]
    groups.append(
        GroupRecord(name=LOCKED, size=10, reason="output of the model", note="", macs=0.01, params=0.1)
    )
    values: dict[str, Any] = {
        "finished": "2030-01-01T00:00:00+00:00",
        "inputs": "shape (1, 3, 8, 8)",
        "images": {"search": 400, "calibration": 900},
        "episodes": len(rows),
        "best": best["number"],
        "stopped": False,
        "limits": {"macs": macs(sizes) // 2},
        "rows": (
            measured("dense", sizes, 0.0, labeled),
            measured("uniform", half, -0.45, labeled),
            measured("greedy", half, -0.4, labeled),
            measured("best", widths, best["score"], labeled),
            measured("found", widths, best["score"] + 0.05, labeled),
        ),
        "groups": tuple(groups),
        "curves": {
            name: CurveRecord(
                widths=tuple(range(1, size + 1)),
                errors=tuple(float(e) for e in (1 - np.arange(1, size + 1) / size) ** 2),
            )
            for name, size in sizes.items()
        },
    }
    return Outcome(**values | changes)


def make_run(
    folder: Path,
    sizes: dict[str, int] = SIZES,
    count: int = 40,
    *,
    labeled: bool = True,
    settings: dict[str, Any] | None = None,
    **changes: Any,
) -> RunDirectory:
    """Write `config.json`, a checkpoint and `outcome.json`; `changes` are of the outcome."""
    directory = RunDirectory(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = history(sizes, count, labeled)
    directory.write_config(config(sizes, **{"episodes": count} | (settings or {})))
    directory.save(Checkpoint({"weights": torch.zeros(1)}, rows))
    directory.write_outcome(outcome(sizes, rows, labeled, **changes))
    return directory
