"""`autoprune prune`: run a pipeline, from a network to a pruned and trained one."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli.options import (
    Data,
    Device,
    Model,
    Progress,
    Quiet,
    RunDir,
    Seed,
    Shapes,
    Shown,
)

if TYPE_CHECKING:
    from torch import nn

    from autoprune.pipelines import PipelineResult

Number = int | None
Share = float | None
Name = str | None


def prune(
    model: Model,
    data: Data,
    pipeline: Annotated[
        str,
        typer.Option(
            "--pipeline",
            "-p",
            metavar="NAME",
            help="iterative_magnitude, lottery_ticket, optimal_brain, molchanov, gradual, sparse_training or "
            "at_init.",
        ),
    ] = "iterative_magnitude",
    sparsity: Annotated[
        Share, typer.Option("--sparsity", "-s", metavar="SHARE", help="Share of weights to prune, 0..1.")
    ] = None,
    budget: Annotated[
        Name,
        typer.Option(
            "--budget", "-b", metavar="COST=BOUND", help="Where channels are cut: macs=50%, params=0.5M, ..."
        ),
    ] = None,
    run_dir: RunDir = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what --run-dir holds; else the same command.")
    ] = False,
    rounds: Annotated[Number, typer.Option("--rounds", metavar="N", help="How often to prune.")] = None,
    epochs: Annotated[Number, typer.Option("--epochs", metavar="N", help="Of each training.")] = None,
    finetune_epochs: Annotated[
        Number, typer.Option("--finetune-epochs", metavar="N", help="sparse_training: after the cut.")
    ] = None,
    criterion: Annotated[
        Name, typer.Option("--criterion", metavar="NAME", help="What scores; see `autoprune criteria`.")
    ] = None,
    granularity: Annotated[
        Name, typer.Option("--granularity", metavar="NAME", help="weight, kernel, filter, 4x4, 2:4, ...")
    ] = None,
    scope: Annotated[
        Name,
        typer.Option("--scope", metavar="NAME", help="layer: each by one share; global: ranked together."),
    ] = None,
    schedule: Annotated[
        Name,
        typer.Option("--schedule", metavar="NAME", help="one_shot, linear, geometric, gradual, one_cycle."),
    ] = None,
    rewind_epoch: Annotated[
        Number, typer.Option("--rewind-epoch", metavar="N", help="lottery_ticket: where to go back to.")
    ] = None,
    control: Annotated[
        Name, typer.Option("--control", metavar="NAME", help="lottery_ticket: random or reinit.")
    ] = None,
    variant: Annotated[
        Name, typer.Option("--variant", metavar="NAME", help="optimal_brain: damage or surgeon.")
    ] = None,
    method: Annotated[
        Name, typer.Option("--method", metavar="NAME", help="at_init: snip, synflow or random.")
    ] = None,
    penalty: Annotated[
        Name, typer.Option("--penalty", metavar="NAME", help="sparse_training: bn_scale, group_lasso or l1.")
    ] = None,
    strength: Annotated[
        Share, typer.Option("--strength", metavar="X", help="sparse_training: factor of the penalty.")
    ] = None,
    share: Annotated[
        Share, typer.Option("--share", metavar="SHARE", help="molchanov: channels to remove per round.")
    ] = None,
    accuracy_floor: Annotated[
        Share, typer.Option("--accuracy-floor", metavar="SHARE", help="molchanov: stop before falling below.")
    ] = None,
    lower: Annotated[
        Share,
        typer.Option("--lower", metavar="RATIO", help="Where channels are cut: what a group keeps at least."),
    ] = None,
    floor: Annotated[
        Share, typer.Option("--floor", metavar="SHARE", help="What every tensor keeps at least.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", metavar="PATTERN", help="The only tensors to prune.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="PATTERN", help="Tensors that stay whole.")
    ] = None,
    iterations: Annotated[
        Number, typer.Option("--iterations", metavar="N", help="at_init: how often to score.")
    ] = None,
    begin: Annotated[
        Share, typer.Option("--begin", metavar="SHARE", help="gradual: where pruning begins.")
    ] = None,
    end: Annotated[
        Share, typer.Option("--end", metavar="SHARE", help="gradual: where the target is reached.")
    ] = None,
    every: Annotated[
        Number, typer.Option("--every", metavar="N", help="gradual: steps between prunings.")
    ] = None,
    lr: Annotated[float, typer.Option("--lr", metavar="X", help="First learning rate (SGD, cosine).")] = 0.01,
    distill: Annotated[
        float,
        typer.Option("--distill", metavar="WEIGHT", help="Share of the loss that follows the dense network."),
    ] = 0.0,
    temperature: Annotated[
        float, typer.Option("--temperature", metavar="T", help="Softness of --distill.")
    ] = 4.0,
    accelerate: Annotated[
        bool, typer.Option("--accelerate", help="Train with Hugging Face Accelerate (`accelerate launch`).")
    ] = False,
    images: Annotated[
        int, typer.Option("--images", metavar="N", help="Images of data.train that criteria look at.")
    ] = 512,
    seed: Seed = 0,
    device: Device = None,
    input_shape: Shapes = None,
    progress: Progress = Shown.bar,
    quiet: Quiet = False,
) -> None:
    """Prune a network by a pipeline of pruning and training.

    The result lies in the run folder: `model.safetensors` and `masks.safetensors`, or `pruned` where channels
    are cut, `history.json` and `summary.txt`. After a crash or Ctrl-C the same command with --resume gives
    the result of an uninterrupted run.

    Example: `autoprune prune -m models:resnet20 -d data:splits -p iterative_magnitude -s 0.9 -o runs/imp`
    """
    from autoprune.cli.console import show
    from autoprune.cli.listen import listener
    from autoprune.cli.prune_progress import PruneProgress
    from autoprune.cli.runs import default_run_dir
    from autoprune.cli.shapes import example_inputs, load_data
    from autoprune.errors import ArgumentError
    from autoprune.locate import load_model
    from autoprune.pipelines import pipeline as pipeline_of
    from autoprune.train import Distillation, Trainer, sgd

    given = {
        "sparsity": sparsity, "budget": budget, "rounds": rounds, "epochs": epochs,
        "finetune_epochs": finetune_epochs, "criterion": criterion, "granularity": granularity,
        "scope": scope, "schedule": schedule, "rewind_epoch": rewind_epoch, "control": control,
        "variant": variant, "method": method, "penalty": penalty, "strength": strength, "share": share,
        "accuracy_floor": accuracy_floor, "lower": lower, "floor": floor, "include": include or None,
        "exclude": exclude or None, "iterations": iterations, "begin": begin, "end": end, "every": every,
    }  # fmt: skip
    function = pipeline_of(pipeline)
    settings = _applicable(pipeline, function, given)
    if resume and run_dir is None:
        raise ArgumentError("--resume must come with the --run-dir to go on with, got none")
    if not 0 < lr < float("inf"):
        raise ArgumentError(f"--lr must be above 0, got {lr}")
    network, splits = load_model(model).to(device), load_data(data)
    taught = Distillation(temperature, distill) if distill else None
    trainer = Trainer(partial(sgd, lr=lr), distill=taught, accelerate=accelerate)
    with listener(PruneProgress, progress, quiet) as seen:
        result = function(
            network,
            splits,
            **settings,
            trainer=trainer,
            example_inputs=example_inputs(input_shape, None) if input_shape else None,
            images=images,
            seed=seed,
            run_dir=run_dir or default_run_dir(model),
            resume=resume,
            on_progress=seen,
        )
    show([_table(result), str(result.measures), _tested(network, result, splits), _places(result)])


def _applicable(name: str, function: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, all of which the pipeline must know, and must be enough.

    Raises:
        ArgumentError: One that it does not know, or one that it needs and does not get.
    """
    from autoprune.errors import ArgumentError

    parameters = inspect.signature(function).parameters
    settings = {key: value for key, value in given.items() if value is not None}
    own = [key for key in given if key in parameters]
    for key in settings:
        if key not in own:
            options = ", ".join(_option(k) for k in own)
            raise ArgumentError(
                f"{_option(key)} does not belong to the pipeline '{name}', which takes {options}"
            )
    for key in own:
        if parameters[key].default is inspect.Parameter.empty and key not in settings:
            raise ArgumentError(f"the pipeline '{name}' needs {_option(key)}, got none")
    return settings


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _table(result: "PipelineResult") -> Any:
    from rich.table import Table

    from autoprune.cli.report import percent

    drawn = Table(title=f"{result.pipeline}: accuracy on data.search_val")
    for head in ("round", "sparsity", "before training", "after training", "last loss", ""):
        drawn.add_column(head, justify="left" if not head else "right")
    for row in result.history:
        losses = row.get("losses")
        note = "undone" if row.get("undone") else f"control: {row['control']}" if "control" in row else ""
        drawn.add_row(
            str(row["round"]),
            percent(row.get("sparsity")),
            percent(row["accuracy_before"]),
            percent(row["accuracy_after"]),
            f"{losses[-1]:.4f}" if losses else "-",
            note,
        )
    return drawn


def _tested(dense: "nn.Module", result: "PipelineResult", data: Any) -> str:
    from autoprune.cli.compare import accuracy_on_test
    from autoprune.cli.report import percent

    before, after = (accuracy_on_test(network, data) for network in (dense, result.model))
    if before is None:
        return "There is no labeled data.test to measure a test accuracy on."
    return f"Test accuracy: {percent(before)} of the network that was given, {percent(after)} of the result."


def _places(result: "PipelineResult") -> str:
    folder = result.run_dir
    if result.plan is not None:
        where = folder / "pruned" if folder else None
        return f"Written to {folder}. In Python: autoprune.load('{where}', dense_model)"
    return (
        f"Written to {folder}. In Python: model.load_state_dict(safetensors.torch.load_file("
        f"'{folder}/model.safetensors')); the masks: autoprune.masks.Masks.load('{folder}/masks.safetensors')"
    )
