"""A search as an MLflow run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import ArgumentError
from autoprune.run.callbacks import Callback, SearchStart

if TYPE_CHECKING:
    from autoprune.agents import Episode
    from autoprune.run.result import SearchResult

ARTIFACTS = ("report.html", "summary.txt", "outcome.json", "config.json", "pruned")
"""Of the run directory, where there is one."""


class MLflow(Callback):
    """Writes every episode to MLflow, and what was found at the end.

        autoprune.search(..., callbacks=[MLflow(experiment="resnet20")])

    Metrics are `score`, `reward`, `best_score`, `seconds`, those of the evaluation, and `cost.NAME` in
    absolute numbers; the step is the number of the episode. At the end come `found.NAME`, and the report, the
    summary and the pruned network of the run directory as artifacts. An MLflow run that is active is used,
    else one is started and ended.

    Args:
        experiment: Name of the experiment; None takes MLflow's own choice.
        run_name: Name of the run; None takes MLflow's own choice.

    Raises:
        ArgumentError: mlflow is not installed, or refuses to start a run (`MLFLOW_TRACKING_URI`).
    """

    def __init__(self, experiment: str | None = None, run_name: str | None = None) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise ArgumentError("MLflow needs mlflow: pip install 'autoprune[mlflow]'") from error
        self._mlflow: Any = mlflow
        self._experiment, self._run_name = experiment, run_name
        self._own = False

    def on_start(self, start: SearchStart) -> None:
        """Start a run and write what is known beforehand."""
        try:
            self._begin()
        except self._mlflow.exceptions.MlflowException as error:
            raise ArgumentError(f"MLflow cannot start a run: {error}") from error
        dense = {f"dense.{name}": value for name, value in start.dense.items()}
        limits = {f"limit.{name}": value for name, value in start.limits.items()}
        self._mlflow.log_params({"episodes": start.episodes, "groups": start.groups} | dense | limits)

    def _begin(self) -> None:
        if self._mlflow.active_run() is None:
            if self._experiment is not None:
                self._mlflow.set_experiment(self._experiment)
            self._mlflow.start_run(run_name=self._run_name)
            self._own = True

    def on_episode(self, episode: "Episode", best: "Episode") -> None:
        """Write one step."""
        values = {
            "score": episode.evaluation.score,
            "reward": episode.reward,
            "best_score": best.evaluation.score,
            "seconds": episode.seconds,
            **episode.evaluation.metrics,
            **{f"cost.{name}": float(value) for name, value in episode.costs.items()},
        }
        self._mlflow.log_metrics(values, step=episode.number)

    def on_end(self, result: "SearchResult") -> None:
        """Write what was found and its files; end the run that `on_start` started."""
        found = result.found
        values = {f"found.{name}": float(value) for name, value in found.costs.items()}
        values |= {f"found.{name}": value for name, value in found.evaluation.metrics.items()}
        self._mlflow.log_metrics(values | {"found.score": found.evaluation.score})
        if result.run_dir is not None:
            self._log_files(result.run_dir)
        if self._own:
            self._mlflow.end_run()
            self._own = False

    def _log_files(self, folder: Path) -> None:
        for path in (folder / name for name in ARTIFACTS):
            if path.is_dir():
                self._mlflow.log_artifacts(str(path), path.name)
            elif path.exists():
                self._mlflow.log_artifact(str(path))
