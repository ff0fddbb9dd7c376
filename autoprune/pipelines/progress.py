"""What a pipeline tells its caller while it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Stage: TypeAlias = Literal["trace", "prune", "train", "epoch", "round", "save", "done"]


@dataclass(frozen=True)
class Progress:
    """One event.

    Attributes:
        stage: What begins ("trace", "prune", "train", "save"), or what was finished ("epoch", "round",
            "done").
        round: Number of the running round, from 1.
        rounds: How many there will be; None where that depends on the results.
        epoch: Epochs of this round that are done.
        epochs: Epochs of this round.
        row: The round's row of the history, as far as it is known.
    """

    stage: Stage
    round: int
    rounds: int | None
    epoch: int = 0
    epochs: int = 0
    row: Mapping[str, Any] = field(default_factory=dict)


Listener: TypeAlias = Callable[[Progress], None]
