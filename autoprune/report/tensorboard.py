"""A search on TensorBoard, episode by episode."""

from typing import TYPE_CHECKING

from autoprune.errors import ArgumentError
from autoprune.files import StrPath
from autoprune.run.callbacks import Callback, SearchStart

if TYPE_CHECKING:
    from stable_baselines3.common.logger import Logger

    from autoprune.agents import Episode
    from autoprune.run.result import SearchResult


class TensorBoard(Callback):
    """Writes every episode through stable-baselines3's logger, in the form that TensorBoard reads.

        autoprune.search(..., callbacks=[TensorBoard("runs/r20/tensorboard")])

    Tags are `search/score`, `search/reward`, `search/best`, `search/seconds`, `metrics/NAME`, `cost/NAME`
    (share of the dense network's), `width/GROUP` (units) and, at the end, `found/NAME`. A resumed search goes
    on in the same folder.

    Args:
        folder: Where to write; made if it is missing.

    Raises:
        ArgumentError: tensorboard is not installed.
    """

    def __init__(self, folder: StrPath) -> None:
        self._folder = folder
        self._logger: Logger | None = None
        self._dense: dict[str, float] = {}
        _check_installed()

    def on_start(self, start: SearchStart) -> None:
        """Open the file."""
        from stable_baselines3.common.logger import configure

        self._dense = dict(start.dense)
        self._logger = configure(str(self._folder), ["tensorboard"])

    def on_episode(self, episode: "Episode", best: "Episode") -> None:
        """Write one step; the number of the episode is the step."""
        values = {
            "search/score": episode.evaluation.score,
            "search/reward": episode.reward,
            "search/best": best.evaluation.score,
            "search/seconds": episode.seconds,
            **{f"metrics/{name}": value for name, value in episode.evaluation.metrics.items()},
            **{f"width/{name}": width for name, width in episode.widths.items()},
            **self._shares(episode.costs),
        }
        self._write(values, episode.number)

    def on_end(self, result: "SearchResult") -> None:
        """Write what was found and close the file."""
        found = result.found
        values = {f"found/{name}": value for name, value in found.evaluation.metrics.items()}
        self._write(values | {"found/score": found.evaluation.score}, result.best.number)
        if self._logger is not None:
            self._logger.close()

    def _shares(self, costs: dict[str, float]) -> dict[str, float]:
        dense = self._dense
        return {f"cost/{name}": value / dense[name] for name, value in costs.items() if dense.get(name)}

    def _write(self, values: dict[str, float], step: int) -> None:
        if self._logger is None:
            return
        for name, value in values.items():
            self._logger.record(name, value)
        self._logger.dump(step)


def _check_installed() -> None:
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        raise ArgumentError("TensorBoard needs tensorboard: pip install 'autoprune[tensorboard]'")
