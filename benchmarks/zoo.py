"""The zoo: real networks with random weights, pruned at random and proved by running, beside Torch-Pruning.

    python -m benchmarks.zoo

Every network runs in a process of its own, with a limit of processor time. Cells are kept in `--folder`, so
that a stopped benchmark goes on; `--again` measures anew what did not pass.
"""

import argparse
import functools
import json
import multiprocessing
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks.compare import README
from benchmarks.results import Record, cell, machine, publish, table
from benchmarks.zoo_check import ours, rival
from benchmarks.zoo_models import Entry, entries, load

SIDES: dict[str, Callable[[Entry], Record]] = {"autoprune": ours, "torch_pruning": rival}
NOT_MEASURED = "not measured"
LIBRARIES = ("torchvision", "timm", "transformers", "torch_pruning")


def isolated(work: Callable[[Entry], Record], entry: Entry, limit: int) -> Record:
    """The record of one network, or how it failed; measured in a process of its own."""
    context = multiprocessing.get_context("fork")  # the libraries are loaded once
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(work, entry, sender, limit))
    process.start()
    sender.close()
    try:
        return dict(receiver.recv())
    except EOFError:
        process.join()
        late = process.exitcode in (-signal.SIGXCPU, -signal.SIGKILL)
        return {"failed": f"no result after {limit} s" if late else "the process died"}
    finally:
        process.kill()
        process.join()


def _answer(work: Callable[[Entry], Record], entry: Entry, sender: Connection, limit: int) -> None:
    used = int(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (used + limit, used + limit))
    try:
        record = work(entry)
    except Exception as error:  # the zoo is there to find any
        text = " ".join(f"{type(error).__name__}: {error}".split())
        record = {"failed": text[:400], "trace": traceback.format_exc()[-3000:]}
    sender.send(record)


def measure(chosen: Sequence[Entry], folder: Path, limit: int, again: bool) -> None:
    """Both sides of every network, each side of its own."""
    for side, work in SIDES.items():
        for number, entry in enumerate(chosen, 1):
            path = folder / side / f"{entry.key}.json"
            if again and side == "autoprune" and path.exists() and not passed(stored(path)):
                path.unlink()
            if not path.exists():
                record = cell(path.parent, path.stem, functools.partial(isolated, work, entry, limit))
                print(f"{side} {number}/{len(chosen)} {entry.key}: {word(side, record)}", flush=True)


def stored(path: Path) -> Record:
    """A cell that was kept, or a record that says that it was not."""
    return dict(json.loads(path.read_text())) if path.exists() else {"failed": NOT_MEASURED}


def kept(chosen: Sequence[Entry], folder: Path) -> list[tuple[Entry, dict[str, Record]]]:
    """The networks that are measured, with both sides."""
    found = [(e, {side: stored(folder / side / f"{e.key}.json") for side in SIDES}) for e in chosen]
    return [(entry, sides) for entry, sides in found if sides["autoprune"].get("failed") != NOT_MEASURED]


def passed(record: Record) -> bool:
    """Whether a network was pruned without any fault."""
    return "failed" not in record and not record["faults"]


def word(side: str, record: Record) -> str:
    """What came out of one side, in a few words."""
    if "failed" in record:
        kind = record["failed"].partition(":")[0]
        return kind if kind.startswith(("no result", NOT_MEASURED)) else f"exception ({kind})"
    if side == "torch_pruning":
        return str(record["verdict"])
    if passed(record):
        return "pass" if record["groups"] else "all locked, left dense"
    return "; ".join(record["faults"])


def render(found: Sequence[tuple[Entry, dict[str, Record]]]) -> str:
    """The table of all networks, with a summary in front."""
    rows = []
    for entry, sides in found:
        mine = sides["autoprune"]
        about = [""] * 4
        if "failed" not in mine:
            form = "own class" if mine["form"] == "class" else "rewritten graph"
            shares = [f"{100 * mine[key]:.1f} %" for key in ("share", "share_graph")]
            about = [form, str(mine["groups"]), *shares]
        results = [word(side, sides[side]) for side in SIDES]
        rows.append([f"{entry.name} ({entry.library})", *about, *results])
    head = ["network", "form", "prunable groups", "parameters in them", "the same as a graph"]
    head += ["autoprune", "Torch-Pruning 1.6.1"]
    return f"{summary(found)}\n\n{table(head, rows)}\n\n    python -m benchmarks.zoo\n\n{versions()}"


def short(found: Sequence[tuple[Entry, dict[str, Record]]]) -> str:
    """The table of the project's first page, folded up."""
    rows = []
    for entry, sides in found:
        mine = sides["autoprune"]
        about = ["", ""] if "failed" in mine else [str(mine["groups"]), f"{100 * mine['share']:.1f} %"]
        rows.append([f"{entry.name} ({entry.library})", *about, word("autoprune", mine)])
    head = ["network", "prunable groups", "parameters in them", "result"]
    return (
        f"<details>\n<summary>{len(rows)} networks with random weights (python -m benchmarks.zoo)</summary>\n"
        f"\n{table(head, rows)}\n\n</details>"
    )


def summary(found: Sequence[tuple[Entry, dict[str, Record]]]) -> str:
    """How many of how many, on both sides."""
    mine = [sides["autoprune"] for _, sides in found]
    good = [record for record in mine if passed(record) and record["groups"]]
    dense = [
        entry.name for entry, sides in found if word("autoprune", sides["autoprune"]).startswith("all locked")
    ]
    verdicts = [word("torch_pruning", sides["torch_pruning"]).partition(" (")[0] for _, sides in found]
    counts = {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts), key=verdicts.count)[::-1]}
    shares = [
        (sides["autoprune"]["share"], sides["autoprune"]["share_graph"])
        for entry, sides in found
        if entry.convolutional and "failed" not in sides["autoprune"]
    ]
    own, graph = (sum(pair[i] >= 0.95 for pair in shares) for i in (0, 1))
    left = f" ({', '.join(dense)} is all locked and stays dense)" if dense else ""
    forms = sum(r["own_class"] for r in good), sum(not r["cannot_follow"] for r in good)
    return (
        f"{len(good)} of {len(mine)} networks are traced, pruned at random ratios and verified without a "
        f"fault{left}: {forms[0]} as their own class, {forms[1]} as a rewritten graph. Of the {len(shares)} "
        f"convolutional ones without layer normalization, {own} have at least 95 % of their convolution and "
        "linear weights in prunable groups in the form that is taken by default, "
        f"{graph} as a rewritten graph. Torch-Pruning: "
        + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        + "."
    )


def versions() -> str:
    """Where the numbers come from."""
    from importlib.metadata import version

    return ", ".join([*(f"{name} {version(name)}" for name in LIBRARIES), machine()])


def main() -> None:
    """Measure the whole zoo and put its table into `benchmarks/README.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", nargs="+", default=[], help="some networks only; nothing is published")
    parser.add_argument("--folder", type=Path, default=Path("runs/zoo"))
    parser.add_argument(
        "--limit", type=int, default=120, help="seconds of processor time for one network and side"
    )
    parser.add_argument("--again", action="store_true", help="measure anew what did not pass")
    parser.add_argument("--kept", action="store_true", help="measure nothing, publish what is kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["TQDM_DISABLE"] = "1"
    chosen = [e for e in entries() if not args.names or e.name in args.names]
    if not args.kept:
        for library in LIBRARIES:
            load(library)
        measure(chosen, args.folder, args.limit, args.again)
    found = kept(chosen, args.folder)
    text = render(found)
    print(text)
    if not args.names:
        publish(README, "zoo", text)
        publish(README.parents[1] / "README.md", "zoo", short(found))


if __name__ == "__main__":
    main()
