"""A progress bar on stderr for a pipeline: round, epoch, sparsity, accuracy."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from autoprune.cli.report import percent
from autoprune.pipelines import Progress as Event

STAGES = {
    "trace": "tracing the network",
    "prune": "pruning",
    "train": "training",
    "epoch": "training",
    "round": "finished",
    "save": "writing the result",
    "done": "done",
}


class PruneProgress:
    """Shows a pipeline as it runs; use it as a context manager around it, and as its `on_progress`.

    Args:
        console: Where to.
        quiet: Draw nothing at all.
    """

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("epoch"),
            MofNCompleteColumn(),
            TextColumn("{task.fields[row]}"),
            TimeElapsedColumn(),
            console=console,
            disable=quiet,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "PruneProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        if self._task is None:
            self._task = self._bar.add_task("", total=None, row="")
        text = STAGES[event.stage]
        if event.stage in ("prune", "train", "epoch", "round"):
            text = f"round {event.round}{f' of {event.rounds}' if event.rounds else ''}: {text}"
        total = event.epochs or None
        self._bar.update(self._task, description=text, total=total, completed=event.epoch)
        if event.row:
            self._bar.update(self._task, row=_describe(event))


def _describe(event: Event) -> str:
    row = event.row
    found = [f"sparsity {percent(row['sparsity'])}"] if "sparsity" in row else []
    accuracy = row.get("accuracy_after", row.get("accuracy_before"))
    if accuracy is not None:
        found.append(f"accuracy {percent(accuracy)}")
    if row.get("losses"):
        found.append(f"loss {row['losses'][-1]:.4f}")
    return ", ".join(found)
