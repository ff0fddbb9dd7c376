import sys
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import ArgumentError
from autoprune.report.mlflow import MLflow
from tests.api.runs import search


@pytest.mark.filterwarnings("ignore")
def test_every_episode_is_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow: Any = pytest.importorskip("mlflow", reason="needs MLflow (pip install 'autoprune[mlflow]')")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    result = search(tmp_path / "run", episodes=4, callbacks=[MLflow("small", "first")])
    assert mlflow.active_run() is None
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("small")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "first" and run.info.status == "FINISHED"
    scores = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "score")]
    assert sorted(scores) == [(e.number, e.evaluation.score) for e in result.history]
    assert run.data.metrics["found.score"] == result.found.evaluation.score
    assert run.data.metrics["found.macs"] == result.found.costs["macs"]
    assert run.data.params["limit.macs"] == str(result.limits["macs"])
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"summary.txt", "outcome.json", "config.json", "pruned"} <= names


def test_without_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ArgumentError, match=r"pip install 'autoprune\[mlflow\]'"):
        MLflow()
