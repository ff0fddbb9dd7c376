"""`autoprune apply`: a plan and the dense network to a folder of weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoprune.cli.options import CalibrationImages, Model, Plan, Shapes

if TYPE_CHECKING:
    from torch import nn

    import autoprune


def apply(
    model: Model,
    plan: Plan,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="New folder for the weights and the plan.")
    ],
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", metavar="MODULE:CALLABLE", help="Re-fit the weights on this data."),
    ] = None,
    calibration_images: CalibrationImages = 2000,
    input_shape: Shapes = None,
) -> None:
    """Cut the network as a plan says and save the smaller network.

    The weights that stay are those of the dense network. With --data the layers behind pruned channels are
    re-fitted to the dense network's outputs, and BatchNorm statistics estimated anew; a run's own `pruned`
    folder has that. With --input-shape the smaller network is verified against the dense one.

    Example: `autoprune apply --model models:resnet20 --plan runs/r20 --out small`
    """
    import autoprune
    from autoprune.cli.console import out as console
    from autoprune.cli.shapes import example_inputs
    from autoprune.locate import load_model

    chosen = autoprune.Plan.load(_file(plan))
    dense = load_model(model)
    if data is None:
        inputs = example_inputs(input_shape, None) if input_shape else None
        small = autoprune.apply(dense, chosen, example_inputs=inputs)
    else:
        small = _refitted(dense, chosen, data, input_shape, calibration_images)
    autoprune.save(small, chosen, out)
    console().print(
        f"{chosen}\n\nWritten to {out}. In Python: autoprune.load('{out}', dense_model)", soft_wrap=True
    )


def _file(plan: Path) -> Path:
    """The plan in a run folder, in its `pruned` folder, or the file itself."""
    from autoprune.errors import ArgumentError

    if not plan.is_dir():
        return plan
    for path in (plan / "plan.json", plan / "pruned" / "plan.json"):
        if path.is_file():
            return path
    raise ArgumentError(f"--plan {plan}: the folder holds neither plan.json nor pruned/plan.json")


def _refitted(
    dense: "nn.Module", plan: "autoprune.Plan", data: str, shapes: Sequence[str] | None, count: int
) -> "nn.Module":
    """The pruned network with weights and statistics for the images of `data.train`."""
    import autoprune
    from autoprune.calibration import refit
    from autoprune.cli.shapes import example_inputs, load_data
    from autoprune.data import FirstImages
    from autoprune.graph.export import device_of
    from autoprune.surgery.apply import rewriter_of

    splits = load_data(data)
    images = FirstImages(splits.train, count, seed=0, name="data.train", device=device_of(dense))
    inputs = example_inputs(shapes or (), splits)
    rewriter = rewriter_of(dense, plan, inputs) if plan.form == "graph" else None
    graph = autoprune.trace(dense, inputs) if rewriter is None else rewriter.graph
    calibration = autoprune.calibrate(graph, dense, images)
    small = autoprune.apply(dense, plan, calibration)
    keep = {name: group.keep for name, group in plan.groups.items()}
    refit(dense, small, graph, keep, images)
    return small
