"""A progress bar on stderr for a pipeline: round, epoch, sparsity, accuracy, time left of the round."""

from rich.console import Console

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
        self._note = ""
        self._round = (0, 0)

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        text = STAGES[event.stage]
        if event.stage in ("prune", "train", "epoch", "round"):
            text = f"round {event.round}{f' of {event.rounds}' if event.rounds else ''}: {text}"
        if event.row:
            self._note = _describe(event)
        if (event.round, event.epochs) == self._round and self.counting:
            self.rename(text)
            self.count(event.epoch, self._note)
        else:
            self._round = (event.round, event.epochs)
            total = 0 if event.stage == "done" else event.epochs or None
            self.begin(text, total, event.epoch, self._note)


def _describe(event: Event) -> str:
    row = event.row
    found = [f"sparsity {percent(row['sparsity'])}"] if "sparsity" in row else []
    accuracy = row.get("accuracy_after", row.get("accuracy_before"))
    if accuracy is not None:
        found.append(f"accuracy {percent(accuracy)}")
    if row.get("losses"):
        found.append(f"loss {row['losses'][-1]:.4f}")
    return ", ".join(found)
