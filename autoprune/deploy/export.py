"""Write a network to a file, and prove that the file computes the same."""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.budget.messages import did_you_mean
from autoprune.deploy.deployed import Deployed
from autoprune.deploy.formats import PROGRAMS, Outputs, tensors_of
from autoprune.errors import ArgumentError, ModelError
from autoprune.files import StrPath, replaced_file
from autoprune.graph.export import evaluating, split_inputs, unwrap
from autoprune.graph.interface import batch_size, with_batch
from autoprune.io import WEIGHTS, save
from autoprune.latency.clock import interleaved_ms
from autoprune.train.evaluate import inference

if TYPE_CHECKING:
    from autoprune.plan import Plan

FORMATS = (*PROGRAMS, "safetensors")
TOLERANCE = 1e-3
"""Largest difference by the largest output; other kernels add in another order."""


def export_network(
    model: nn.Module,
    path: StrPath,
    *,
    to: str,
    example_inputs: Any,
    plan: "Plan | None" = None,
    dynamic_batch: bool = False,
    rounds: int = 20,
) -> Deployed:
    """Write a network in evaluation mode, read the file again, compare and time it.

    The file of a program takes its place only after the comparison; until then what was there stays.

    Args:
        model: The network, pruned or not, in any mode; its modes are restored.
        path: The new file ("onnx": ends with .onnx, "torch": .pt2), or the folder ("safetensors").
        to: "onnx" (by `torch.onnx.export` on top of `torch.export`), "torch" (a `torch.export` program), or
            "safetensors" (weights and plan, as `autoprune.save` writes them).
        example_inputs: A tensor, a tuple of arguments or a dict of keyword arguments; a program takes inputs
            of these shapes.
        plan: What the network was made with; needed for "safetensors".
        dynamic_batch: Whether a program takes batches of any size. The batch is the first dimension of the
            first input and of all others that are as long. The file is then compared at several sizes.
        rounds: Timed passes of each, interleaved.

    Returns:
        The largest difference, and the times.

    Raises:
        ArgumentError: An unknown format, a wrong suffix, no plan where one is needed, missing libraries, or
            `dynamic_batch` with inputs that have no batch or with "safetensors".
        ModelError: The network cannot be exported, or not for any batch size, or the file computes something
            else.
        PlanError: The plan is of another network.
        OSError: The file cannot be written.
    """
    target = _checked(Path(path), to, plan)
    if dynamic_batch:
        _check_dynamic(to, example_inputs)
    network, threads = unwrap(model), torch.get_num_threads()
    args, kwargs = split_inputs(example_inputs)
    sizes = {1, 2, 3} - {batch_size(example_inputs)} if dynamic_batch else ()
    cases = [(args, kwargs), *(split_inputs(with_batch(example_inputs, size)) for size in sizes)]
    expected = [_outputs(network, *case, own=case is cases[0]) for case in cases]
    if to in PROGRAMS:
        content = _packed(network, to, example_inputs, dynamic_batch)
        with replaced_file(target) as temporary:
            temporary.write_bytes(content)
            runs = [PROGRAMS[to].read(temporary, a, k, threads) for a, k in cases]
            compared = [_compared(e, run(), target) for e, run in zip(expected, runs, strict=True)]
    else:
        runs = [_saved(network, target, plan, args, kwargs)]
        compared = [_compared(expected[0], runs[0](), target)]
    run = runs[0]
    difference, scale = (max(values) for values in zip(*compared, strict=True))

    def original() -> Any:
        with torch.inference_mode():
            return network(*args, **kwargs)

    with inference(network):
        network_ms, file_ms = interleaved_ms([original, run], rounds=rounds)
    size = sum(f.stat().st_size for f in ([target] if target.is_file() else target.iterdir()))
    return Deployed(target, to, size, difference, scale, network_ms, file_ms, threads)


def _checked(path: Path, to: str, plan: "Plan | None") -> Path:
    if to not in FORMATS:
        raise ArgumentError(f"to must be a known format, got '{to}'{did_you_mean(to, FORMATS)}")
    if to == "safetensors" and plan is None:
        raise ArgumentError("to='safetensors' needs the plan of the network; pass a run or a search result")
    if to in PROGRAMS and path.suffix != PROGRAMS[to].suffix:
        raise ArgumentError(f"path must end with {PROGRAMS[to].suffix} for to='{to}', got '{path.name}'")
    return path


def _outputs(network: nn.Module, args: Any, kwargs: Any, own: bool) -> list[Tensor]:
    """What the network makes of the example inputs (`own`), or of another batch."""
    try:
        with inference(network):
            return [tensor.clone() for tensor in tensors_of(network(*args, **kwargs))]
    except Exception as error:  # a forward may raise anything
        if own:
            raise
        raise ModelError(
            f"the network does not run on batches of another size, so leave dynamic_batch out: "
            f"{type(error).__name__}: {error}"
        ) from error


def _check_dynamic(to: str, example_inputs: Any) -> None:
    if to not in PROGRAMS:
        raise ArgumentError(f"dynamic_batch goes with {' and '.join(PROGRAMS)}, got to='{to}'; leave it out")
    if not batch_size(example_inputs):
        raise ArgumentError("dynamic_batch needs example_inputs with a batch, got none; leave it out")


def _packed(network: nn.Module, to: str, example_inputs: Any, dynamic_batch: bool) -> bytes:
    """The content of a program's file."""
    dynamic = None
    if dynamic_batch:
        # torch.export takes a size of 1 for a constant, and equal sizes for one
        size = max(2, batch_size(example_inputs) or 0)
        example_inputs = with_batch(example_inputs, size)
        open_ = {0: torch.export.Dim("batch")}

        def marked(leaf: Any) -> Any:
            return open_ if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == size else None

        args, kwargs = pytree.tree_map(marked, split_inputs(example_inputs))
        dynamic = args or kwargs
    args, kwargs = split_inputs(example_inputs)
    try:
        with evaluating(network):
            return PROGRAMS[to].pack(network, args, kwargs, dynamic)
    except ModelError as error:
        if dynamic is None:
            raise
        raise ModelError(f"{error}; where it fixes the batch size, leave dynamic_batch out") from error


def _saved(network: nn.Module, path: Path, plan: "Plan | None", args: Any, kwargs: Any) -> Outputs:
    """Write weights and plan, and give what runs a copy with the weights that were written."""
    from safetensors.torch import load_file

    assert plan is not None
    save(network, plan, path)
    again = copy.deepcopy(network).eval()
    for tensor in (*again.parameters(), *again.buffers()):
        tensor.detach().zero_()
    again.load_state_dict(load_file(path / WEIGHTS), strict=False)

    def run() -> list[Tensor]:
        with torch.inference_mode():
            return tensors_of(again(*args, **kwargs))

    return run


def _compared(expected: list[Tensor], found: list[Tensor], path: Path) -> tuple[float, float]:
    """Largest absolute difference, and largest absolute output."""
    shapes = [tuple(t.shape) for t in expected], [tuple(t.shape) for t in found]
    if shapes[0] != shapes[1]:
        raise ModelError(f"'{path}' must give outputs of shapes {shapes[0]}, got {shapes[1]}")
    pairs = [
        (a.detach().cpu().double(), b.detach().cpu().double()) for a, b in zip(expected, found, strict=True)
    ]
    difference = max((float((a - b).abs().max()) for a, b in pairs if a.numel()), default=0.0)
    scale = max((float(a.abs().max()) for a, _ in pairs if a.numel()), default=0.0)
    if not difference <= TOLERANCE * max(scale, 1e-6):
        raise ModelError(
            f"'{path}' does not compute what the network does: outputs differ by {difference:.3g} where the "
            f"largest is {scale:.3g}; do not use it"
        )
    return difference, scale
