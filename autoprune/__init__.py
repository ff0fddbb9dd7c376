"""autoprune finds how much of each layer of a PyTorch network to prune, under a hard budget.

    import autoprune

    data = autoprune.DataSplits(train=train_loader, search_val=held_out_loader)
    result = autoprune.search(model, example_inputs, data, "macs=50%")
    print(result.summary())
    small = result.model

Everything here is loaded on first use, so that `import autoprune` itself costs next to nothing.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoprune.agents import Policy, PolicyStore
    from autoprune.api import export, plan, resume, search, sensitivity, sweep
    from autoprune.budget import Budget
    from autoprune.calibration import Calibration, calibrate
    from autoprune.data import DataSplits
    from autoprune.errors import (
        ArgumentError,
        AutopruneError,
        BudgetError,
        DataError,
        ModelError,
        PlanError,
        RunError,
        TraceError,
    )
    from autoprune.graph import PruneGraph, trace
    from autoprune.io import load, save
    from autoprune.latency import LatencyTable
    from autoprune.plan import Plan
    from autoprune.report.mlflow import MLflow
    from autoprune.report.tensorboard import TensorBoard
    from autoprune.run.callbacks import Callback
    from autoprune.run.learn import Lesson, learn_policy
    from autoprune.run.result import SearchResult
    from autoprune.sensitivity.result import Sensitivity
    from autoprune.surgery import apply, proven
    from autoprune.train import Distillation, Trainer, accuracy, finetune
    from autoprune.verify import verify

    __version__: str

_HOME = {
    "ArgumentError": "autoprune.errors",
    "AutopruneError": "autoprune.errors",
    "Budget": "autoprune.budget",
    "BudgetError": "autoprune.errors",
    "Calibration": "autoprune.calibration",
    "Callback": "autoprune.run.callbacks",
    "DataError": "autoprune.errors",
    "DataSplits": "autoprune.data",
    "Distillation": "autoprune.train",
    "LatencyTable": "autoprune.latency",
    "Lesson": "autoprune.run.learn",
    "MLflow": "autoprune.report.mlflow",
    "ModelError": "autoprune.errors",
    "Plan": "autoprune.plan",
    "PlanError": "autoprune.errors",
    "Policy": "autoprune.agents",
    "PolicyStore": "autoprune.agents",
    "PruneGraph": "autoprune.graph",
    "RunError": "autoprune.errors",
    "SearchResult": "autoprune.run.result",
    "Sensitivity": "autoprune.sensitivity.result",
    "TensorBoard": "autoprune.report.tensorboard",
    "TraceError": "autoprune.errors",
    "Trainer": "autoprune.train",
    "accuracy": "autoprune.train",
    "apply": "autoprune.surgery",
    "calibrate": "autoprune.calibration",
    "export": "autoprune.api",
    "finetune": "autoprune.train",
    "learn_policy": "autoprune.run.learn",
    "load": "autoprune.io",
    "plan": "autoprune.api",
    "proven": "autoprune.surgery",
    "resume": "autoprune.api",
    "save": "autoprune.io",
    "search": "autoprune.api",
    "sensitivity": "autoprune.api",
    "sweep": "autoprune.api",
    "trace": "autoprune.graph",
    "verify": "autoprune.verify",
}

__all__ = [
    "ArgumentError",
    "AutopruneError",
    "Budget",
    "BudgetError",
    "Calibration",
    "Callback",
    "DataError",
    "DataSplits",
    "Distillation",
    "LatencyTable",
    "Lesson",
    "MLflow",
    "ModelError",
    "Plan",
    "PlanError",
    "Policy",
    "PolicyStore",
    "PruneGraph",
    "RunError",
    "SearchResult",
    "Sensitivity",
    "TensorBoard",
    "TraceError",
    "Trainer",
    "__version__",
    "accuracy",
    "apply",
    "calibrate",
    "export",
    "finetune",
    "learn_policy",
    "load",
    "plan",
    "proven",
    "resume",
    "save",
    "search",
    "sensitivity",
    "sweep",
    "trace",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOME:
        raise AttributeError(f"module 'autoprune' has no attribute '{name}'")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("autoprune")
    except PackageNotFoundError:
        return "0+unknown"


class _Facade(ModuleType):
    """Keeps `autoprune.plan` and `autoprune.verify` the functions, whichever module is imported first.

    Importing a submodule binds it as an attribute of its package, which would hide the function of that name.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in _HOME):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Facade
