"""A progress bar on stderr for a pipeline: round, epoch, sparsity, accuracy."""

from rich.console import Console
from rich.progress import MofNCompleteColumn, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn

from autoprune.cli.bar import Bar
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


class PruneProgress(Bar):
    """Shows a pipeline as it runs; use it as a context manager around it, and as its `on_progress`."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        super().__init__(console, quiet)
        self._task: TaskID | None = None

    def _columns(self) -> tuple[ProgressColumn, ...]:
        row = TextColumn("{task.fields[row]}")
        return (TextColumn("epoch"), MofNCompleteColumn(), row, TimeElapsedColumn())

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
