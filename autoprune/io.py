"""Pruned networks on disk: weights and plan in a folder that is complete or not there, without pickle."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from autoprune.errors import ArgumentError, ModelError, PlanError
from autoprune.files import leftovers, replaced_folder, sha256, write_tensors, write_text
from autoprune.graph.export import unwrap
from autoprune.plan import Plan
from autoprune.surgery.apply import check_plan_fits, pruned, rewriter_of
from autoprune.surgery.tensors import Shape, first_difference, held_tensors

FORMAT = "autoprune model"
VERSION = 1
MANIFEST, PLAN, WEIGHTS = "manifest.json", "plan.json", "weights.safetensors"


def save(model: nn.Module, plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write a pruned network to a folder: `weights.safetensors`, `plan.json`, `manifest.json` (checksums).

    The folder appears complete or not at all. One that `save` wrote is replaced; anything else is refused.

    Args:
        model: The pruned network, fine-tuned or not.
        plan: The plan that it was made with.
        path: The folder; missing parents are made.

    Raises:
        ArgumentError: `path` exists and is not such a folder.
        PlanError: The model is not what the plan yields; the message names the first difference.
        ModelError: The model's state holds something other than tensors.
        OSError: The folder cannot be written to.
    """
    folder = Path(path)
    if folder.exists() and not _may_be_replaced(folder):
        raise ArgumentError(
            f"path must be new or a folder that autoprune.save wrote, got '{folder}'; choose another"
        )
    tensors = _weights(unwrap(model))
    difference = first_difference(
        _shapes_after(plan, tensors), {n: tuple(t.shape) for n, t in tensors.items()}
    )
    if difference:
        raise PlanError(
            f"the model is not the one that the plan yields: {difference}; save it with its own plan"
        )
    with replaced_folder(folder) as temporary:
        write_tensors(temporary / WEIGHTS, tensors)
        plan.save(temporary / PLAN)
        files = {name: sha256(temporary / name) for name in (WEIGHTS, PLAN)}
        manifest = {"format": FORMAT, "version": VERSION, "torch": torch.__version__, "sha256": files}
        write_text(temporary / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def load(path: str | os.PathLike[str], dense_model: nn.Module, *, example_inputs: Any = None) -> nn.Module:
    """Read a pruned network that `save` wrote.

    Args:
        path: The folder.
        dense_model: The network that was pruned, or a newly made one of the same architecture; its weights do
            not matter, and it is untouched.
        example_inputs: Needed, as for the trace, if the plan is of the form "graph" and does not hold them.

    Returns:
        The pruned network: structure, type, device and mode from `dense_model`, weights from the folder. If
        the plan is of the form "graph", `dense_model` is exported again.

    Raises:
        PlanError: A file is missing, truncated or changed, or belongs to another network. The message
            names the file; nothing is overwritten.
        ArgumentError: `example_inputs` are needed and missing.
        TraceError: `torch.export` refuses the model (form "graph").
    """
    folder = Path(path)
    for name, checksum in _checksums(folder).items():
        if _checksum(folder / name) != checksum:
            raise PlanError(
                f"'{folder / name}' is damaged: its checksum does not match; restore it from a copy"
            )
    plan = Plan.load(folder / PLAN)
    check_plan_fits(dense_model, plan)
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise PlanError(f"'{folder / WEIGHTS}' is damaged: {error}; restore it from a copy") from error
    expected = _shapes_after(
        plan, {n: h.tensor for n, h in held_tensors(unwrap(dense_model)).items() if h.persistent}
    )
    difference = first_difference(expected, {n: tuple(t.shape) for n, t in tensors.items()})
    if difference:
        raise PlanError(f"'{folder / WEIGHTS}' does not fit its plan: {difference}; save the model again")
    rewriter = rewriter_of(dense_model, plan, example_inputs) if plan.form == "graph" else None
    return pruned(dense_model, plan, tensors, rewriter=rewriter)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """What `state_dict` holds, every tensor once."""
    held = {name: entry.tensor for name, entry in held_tensors(model).items() if entry.persistent}
    known = {id(tensor) for tensor in held.values()}
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise ModelError(
                f"the state '{name}' must be a tensor to be saved without pickle, got {type(value).__name__}"
            )
        if id(value) not in known:
            raise ModelError(
                f"the state '{name}' is neither a parameter nor a buffer; save such a model by other means"
            )
    return held


def _shapes_after(plan: Plan, names: dict[str, Tensor]) -> dict[str, Shape]:
    """Shapes that the plan yields, by name, for these tensors and all that it slices."""
    result = {}
    for name, shape in plan.fingerprint.items():
        cut = plan.slices.get(name, {})
        if name in names or cut:
            result[name] = tuple(len(cut[d]) if d in cut else size for d, size in enumerate(shape))
    return result


def _may_be_replaced(folder: Path) -> bool:
    if not folder.is_dir() or folder.is_symlink():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    own = {MANIFEST, PLAN, WEIGHTS}
    return (
        isinstance(manifest, dict)
        and manifest.get("format") == FORMAT
        and {f.name for f in folder.iterdir()} <= own
    )


def _checksums(folder: Path) -> dict[str, str]:
    path = folder / MANIFEST
    try:
        manifest: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        old = leftovers(folder)
        hint = (
            f"; an interrupted save left '{old[-1]}', which can be renamed"
            if old and not folder.exists()
            else ""
        )
        raise PlanError(
            f"'{folder}' is not a folder that autoprune.save wrote: no {MANIFEST}{hint}"
        ) from error
    except OSError as error:
        raise PlanError(f"'{path}' cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise PlanError(f"'{path}' is truncated or damaged: {error}; restore it from a copy") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise PlanError(f"'{path}' does not belong to a folder that autoprune.save wrote")
    if manifest.get("version") != VERSION:
        raise PlanError(
            f"'{path}' has version {manifest.get('version')!r}, this autoprune reads version {VERSION}"
        )
    files = manifest.get("sha256")
    if not isinstance(files, dict) or set(files) != {WEIGHTS, PLAN}:
        raise PlanError(f"'{path}' is damaged: it must hold the checksums of {WEIGHTS} and {PLAN}")
    return files


def _checksum(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise PlanError(f"'{path}' cannot be read: {error.strerror}; restore it from a copy") from error
