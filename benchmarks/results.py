"""Results of a benchmark: one JSON file per cell, so that a stopped benchmark goes on, and tables."""

import argparse
import inspect
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import autoprune

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from autoprune.run.result import SearchResult

Record = dict[str, Any]


def cell(folder: Path, name: str, measure: Callable[[], Record]) -> Record:
    """Return the record stored as `folder/name.json`; measure and store it first where it is missing."""
    path = folder / f"{name}.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    record = measure()
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1))
    os.replace(part, path)
    return record


def whole(result: "SearchResult") -> "SearchResult":
    """The result of a search that was not stopped early: a signal ends the benchmark, not a cell of it."""
    if result.stopped:
        raise KeyboardInterrupt("the search was stopped; what it had found so far is no result")
    return result


def spread(values: Sequence[float], digits: int = 2, scale: float = 1.0) -> str:
    """Mean and, from two values on, the sample standard deviation."""
    scaled = [v * scale for v in values]
    mean = f"{statistics.fmean(scaled):.{digits}f}"
    return mean if len(scaled) < 2 else f"{mean} ± {statistics.stdev(scaled):.{digits}f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right-aligned."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def publish(readme: Path, section: str, text: str) -> None:
    """Replace what stands between the two marks of `section` in `readme`, or append it with its marks."""
    start, end = f"<!-- {section} -->", f"<!-- /{section} -->"
    page = readme.read_text() if readme.exists() else ""
    block = f"{start}\n{text.strip()}\n{end}"
    if start in page and end in page:
        page = page[: page.index(start)] + block + page[page.index(end) + len(end) :]
    else:
        page = page.rstrip() + "\n\n" + block + "\n"
    part = readme.with_suffix(".part")
    part.write_text(page)
    os.replace(part, readme)


def source(name: str, args: argparse.Namespace) -> str:
    """How a section is made again, with the model and the data of `args`, and on what it was made."""
    command = f"python -m benchmarks.{name} --model {args.model} --data {args.data}"
    return f"    PYTHONPATH=../shared/cifar {command}\n\n{machine()}"


def default(setting: str) -> Any:
    """What `autoprune.search` takes where nothing is said."""
    return inspect.signature(autoprune.search).parameters[setting].default


def save_svg(figure: "Figure", path: Path) -> None:
    """Write a figure so that the same numbers give the same file."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": path.name}):
        figure.savefig(path, metadata={"Date": None})


def machine() -> str:
    """One line on where the numbers come from."""
    where = f"{platform.machine()}, {os.cpu_count()} cores"
    return f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {where}"


def group_by(records: Iterable[Record], *keys: str) -> Mapping[tuple[Any, ...], list[Record]]:
    """Records by the values of `keys`, in the order of first appearance."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record[k] for k in keys), []).append(record)
    return groups
