"""`autoprune demo`: the main job on scikit-learn's digits."""

from pathlib import Path
from typing import Annotated, Any

import typer

from autoprune.cli.options import Progress, Quiet, Shown

FINETUNE_EPOCHS = 5


def demo(
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="For the artefacts; one of an earlier demo is replaced."
        ),
    ] = Path("runs/demo"),
    budget: Annotated[
        str, typer.Option("--budget", "-b", metavar="COST=BOUND", help="As in `search`.")
    ] = "macs=30%",
    episodes: Annotated[
        int, typer.Option("--episodes", "-n", metavar="N", help="Candidates to evaluate.")
    ] = 100,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="For the training and the search.")] = 0,
    progress: Progress = Shown.bar,
    quiet: Quiet = False,
) -> None:
    """Train a small network on handwritten digits, prune it to 30% of its MACs, and compare.

    Needs scikit-learn (pip install 'autoprune[demo]') and less than two minutes on two cores.

    Example: `autoprune demo`
    """
    import torch

    import autoprune
    from autoprune.cli.compare import compare, contenders
    from autoprune.cli.console import show
    from autoprune.cli.demo_report import demo_report
    from autoprune.cli.listen import listener
    from autoprune.cli.progress import SearchProgress
    from autoprune.demo import splits, trained
    from autoprune.demo.folder import fresh_folder
    from autoprune.files import write_tensors
    from autoprune.report.comparison import record_comparison

    torch.set_num_threads(1)  # networks this small gain nothing from more, and lose much on a busy machine
    autoprune.Budget.parse(budget)
    data, folder = splits(), fresh_folder(out)
    settings: dict[str, Any] = {"budget": budget, "seed": seed}
    with listener(SearchProgress, progress, quiet) as seen:
        seen.on_stage("training the network")
        dense = trained(data, seed)
        write_tensors(folder / "dense.safetensors", dense.state_dict())
        result = autoprune.search(
            dense,
            None,
            data,
            **settings,
            agent="ddpg",
            episodes=episodes,
            run_dir=folder / "search",
            callbacks=[seen],
        )
        networks = contenders(result, dense, None, data, settings, seen.on_stage)
        rows, tuned = compare(networks, data, FINETUNE_EPOCHS, None, seen.on_stage, seen.on_step)
        record_comparison(folder / "search", rows, FINETUNE_EPOCHS)
        autoprune.save(tuned["found"], result.plan, folder / "found")
        seen.on_stage("done")
    facts = {"budget": budget, "episodes": len(result.history)} | _counts(data)
    show(demo_report(folder, networks, rows, FINETUNE_EPOCHS, facts))


def _counts(data: Any) -> dict[str, Any]:
    train, test = len(data.train.dataset), len(data.test.dataset)
    return {"train": train, "test": test, "one": 100 / test}
