"""Every finished episode, made safe before the next begins."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autoprune.run.checkpoint import Checkpoint
from autoprune.run.directory import RunDirectory
from autoprune.run.history import from_row, to_row
from autoprune.run.study import StudyMirror

if TYPE_CHECKING:
    from autoprune.agents import Agent, Episode


class Recorder:
    """Keeps the history of a run, and its copies: first the checkpoint, then the study.

    A process that is killed between the two leaves an episode without a trial; `restore` adds it.

    Args:
        names: The prunable groups, in network order.
        mirror: The study.
        directory: Where checkpoints go; None keeps none.
        images: How many images score a candidate; from fewer it is an estimate (`autoprune.score.Raced`).
    """

    def __init__(
        self, names: Sequence[str], mirror: StudyMirror, directory: RunDirectory | None, *, images: int = 0
    ) -> None:
        self.history: list[Episode] = []
        self._rows: list[dict[str, Any]] = []
        self._names, self._mirror, self._directory = names, mirror, directory
        self._images = images

    def worth(self, episode: "Episode") -> tuple[bool, float]:
        """What episodes are compared by: those scored on all images come first, then the reward decides."""
        return episode.evaluation.metrics.get("images", self._images) >= self._images, episode.reward

    @property
    def best(self) -> "Episode | None":
        """The finished episode that is worth most, the first one of equals."""
        return max(self.history, key=self.worth, default=None)

    def restore(self, checkpoint: Checkpoint, agent: "Agent") -> None:
        """Go back to the state of a checkpoint."""
        agent.load_state_dict(dict(checkpoint.agent))
        self._rows = list(checkpoint.history)
        self.history = [from_row(row, self._names) for row in self._rows]
        self.catch_up()

    def catch_up(self) -> None:
        """Add to the study what it lacks, as while its storage could not be reached."""
        self._mirror.sync(self.history)

    def add(self, episode: "Episode", agent: "Agent") -> None:
        """Store a finished episode together with the state of the agent behind it.

        Raises:
            RunError: The run directory cannot be written to; the episodes before are safe.
        """
        self.history.append(episode)
        self._rows.append(to_row(episode, self._names))
        if self._directory is not None:
            self._directory.save(Checkpoint(agent.state_dict(), self._rows))
        self._mirror.sync(self.history)
