"""Which attributes of a module repeat the shapes of its tensors: one adapter per module class."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

from autoprune.errors import ArgumentError, ModelError
from autoprune.graph.cuts import Cuts, register_cuts
from autoprune.surgery.slicer import Slices, Value
from autoprune.surgery.tensors import Held, Shape


@dataclass(frozen=True)
class Cut:
    """What a surgery does to the tensors of one module.

    Tensors go by their path from the module: `weight` for its own, `proj.weight` for those of a child. A
    weight that is computed from another tensor (weight_norm, spectral_norm) goes by the name `weight` too.

    Attributes:
        path: Where the module is.
        module: The dense module; not to be changed.
        before: Shape of each tensor of the module and of its children.
        after: The same after the surgery.
        stays: Indices that stay, by (tensor, dimension); touched dimensions only.
        conv_groups: For convolutions that the graph knows, the number of groups after the surgery.
    """

    path: str
    module: nn.Module
    before: Mapping[str, Shape]
    after: Mapping[str, Shape]
    stays: Mapping[tuple[str, int], NDArray[np.int64]]
    conv_groups: int | None = None


Adapter: TypeAlias = Callable[[Cut], Mapping[str, Value]]


@dataclass(frozen=True)
class _Entry:
    adapter: Adapter
    attributes: frozenset[str]


# Tensors of the weight's own shape that weight_norm and spectral_norm compute it from, new and old form.
_COMPUTED_FROM = (
    "parametrizations.weight.original1",
    "parametrizations.weight.original",
    "weight_orig",
    "weight_v",
)
_REGISTRY: dict[type[nn.Module] | str, _Entry] = {}


def register_adapter(
    *classes: type[nn.Module] | str, attributes: Sequence[str], cuts: Cuts | None = None
) -> Callable[[Adapter], Adapter]:
    """Decorator: use a function to correct the attributes of modules of these classes and their subclasses.

    The adapter is asked for every module of the class of which a tensor is cut, its own or a child's. The
    nearest registered base class wins, so that a subclass can have an adapter of its own. Whether the
    corrected module computes the right thing is found out by running it.

    Example: an attention block whose forward uses `self.heads`, with heads of a fixed width `self.depth`.

        @register_adapter(MyAttention, attributes=("heads",))
        def _heads(cut: Cut) -> Mapping[str, int]:
            return {"heads": cut.after["q.weight"][0] // cut.module.depth}

    Args:
        classes: Module classes, or full names of classes ("package.module.Class"), which nothing imports.
        attributes: Names of all attributes that the adapter may return. A plan can change no others.
        cuts: Where the forward cuts channels (`split`, `x[:, :k]`) at numbers that come from these
            attributes: "free" where every part may keep as many as it likes, "equal" where all parts must
            stay equally long. Channels that a forward cuts otherwise are locked.

    Raises:
        ArgumentError: No class, no attribute, or another word for `cuts`.
    """
    if not classes or not attributes:
        raise ArgumentError("register_adapter needs at least one module class and one attribute name")
    if cuts not in (None, "free", "equal"):
        raise ArgumentError(f"cuts must be 'free', 'equal' or None, got {cuts!r}")

    def remember(adapter: Adapter) -> Adapter:
        for cls in classes:
            _REGISTRY[cls] = _Entry(adapter, frozenset(attributes))
            if cuts is not None:
                register_cuts(cls if isinstance(cls, str) else f"{cls.__module__}.{cls.__qualname__}", cuts)
        return adapter

    return remember


def allowed_attributes(module: nn.Module) -> frozenset[str]:
    """Names of the attributes that a plan may change in this module."""
    entry = _entry(module)
    return entry.attributes if entry else frozenset()


def corrections(
    modules: Mapping[str, nn.Module],
    held: Mapping[str, Held],
    slices: Slices,
    conv_groups: Mapping[str, int],
) -> dict[str, dict[str, Value]]:
    """The attributes that a surgery changes.

    Args:
        modules: The dense modules by path (`dict(model.named_modules())`).
        held: `held_tensors(model)`.
        slices: Indices that stay, by tensor name and dimension.
        conv_groups: Number of groups after the surgery, by the name of the convolution's weight.

    Returns:
        `{module path: {attribute: new value}}`, changed attributes only. Modules of classes without an
        adapter keep theirs.

    Raises:
        ModelError: An adapter finds that its module cannot work with what stays.
    """
    touched: dict[str, dict[str, str]] = {}
    for name in slices:
        for path, key in held[name].holders:
            for owner, relative in _owners(path, key):
                if owner in modules and (owner == path or _entry(modules[owner]) is not None):
                    touched.setdefault(owner, {})[relative] = name
    result: dict[str, dict[str, Value]] = {}
    for path, names in touched.items():
        entry = _entry(modules[path])
        if entry is None:
            continue
        new = entry.adapter(_cut(path, modules[path], names, slices, conv_groups))
        changed = {
            k: v for k, v in new.items() if _is_count(modules[path], k) and _counts(modules[path], k) != v
        }
        if changed:
            result[path] = changed
    return result


def _owners(path: str, key: str) -> Iterator[tuple[str, str]]:
    """The module that holds a tensor and all those around it, with the tensor's path from there."""
    while True:
        yield path, key
        if not path:
            return
        path, _, child = path.rpartition(".")
        key = f"{child}.{key}"


def _cut(
    path: str, module: nn.Module, names: Mapping[str, str], slices: Slices, conv_groups: Mapping[str, int]
) -> Cut:
    own = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    before = {key: tuple(tensor.shape) for key, tensor in own}
    after = dict(before)
    stays = {}
    source = next((key for key in _COMPUTED_FROM if key in before), "")
    if "weight" not in before and source:
        before["weight"] = after["weight"] = before[source]
        names = dict(names) | ({"weight": names[source]} if source in names else {})
    for key, name in names.items():
        for dim, indices in slices[name].items():
            stays[key, dim] = np.asarray(indices)
        after[key] = tuple(len(slices[name].get(dim, range(size))) for dim, size in enumerate(before[key]))
    return Cut(path, module, before, after, stays, conv_groups.get(names.get("weight", "")))


def _entry(module: nn.Module) -> _Entry | None:
    for cls in type(module).__mro__:
        for key in (cls, f"{cls.__module__}.{cls.__qualname__}"):
            if key in _REGISTRY:
                return _REGISTRY[key]
    return None


def _is_count(module: nn.Module, attribute: str) -> bool:
    """Only what is there already, as a number, a shape or a list of sizes, is ever corrected."""
    value = getattr(module, attribute, None)
    return (isinstance(value, int) and not isinstance(value, bool)) or isinstance(value, tuple | list)


def _counts(module: nn.Module, attribute: str) -> object:
    value = getattr(module, attribute)
    return tuple(value) if isinstance(value, list) else value


@register_adapter(nn.Conv1d, nn.Conv2d, nn.Conv3d, attributes=("in_channels", "out_channels", "groups"))
def _conv(cut: Cut) -> Mapping[str, Value]:
    outputs, per_group = cut.after["weight"][:2]
    groups = _conv_groups(cut, outputs)
    return {"in_channels": per_group * groups, "out_channels": outputs, "groups": groups}


@register_adapter(
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    attributes=("in_channels", "out_channels", "groups"),
)
def _conv_transposed(cut: Cut) -> Mapping[str, Value]:
    inputs, per_group = cut.after["weight"][:2]
    groups = _conv_groups(cut, inputs)
    return {"in_channels": inputs, "out_channels": per_group * groups, "groups": groups}


def _conv_groups(cut: Cut, channels: int) -> int:
    groups = int(getattr(cut.module, "groups", 1)) if cut.conv_groups is None else cut.conv_groups
    if cut.conv_groups is None and groups > 1:
        left = _per_group(cut, groups)
        if set(left) == {0, max(left)} and max(left) * groups == cut.before["weight"][0]:
            groups = int(np.count_nonzero(left))  # whole groups are gone
    if groups < 1 or channels % groups:
        raise ModelError(
            f"the convolution '{cut.path}' cannot have {groups} groups with {channels} channels; "
            "prune whole groups, or the same number of channels in each"
        )
    return groups


@register_adapter(nn.Linear, attributes=("in_features", "out_features"))
def _linear(cut: Cut) -> Mapping[str, Value]:
    outputs, inputs = cut.after["weight"]
    return {"in_features": inputs, "out_features": outputs}


@register_adapter(nn.Bilinear, attributes=("in1_features", "in2_features", "out_features"))
def _bilinear(cut: Cut) -> Mapping[str, Value]:
    outputs, first, second = cut.after["weight"]
    return {"in1_features": first, "in2_features": second, "out_features": outputs}


@register_adapter(nn.modules.batchnorm._NormBase, attributes=("num_features",))
def _batch_or_instance_norm(cut: Cut) -> Mapping[str, Value]:
    return {"num_features": next(cut.after[key][0] for key, dim in cut.stays if dim == 0)}


@register_adapter(nn.LayerNorm, nn.RMSNorm, attributes=("normalized_shape",))
def _layer_norm(cut: Cut) -> Mapping[str, Value]:
    return {"normalized_shape": cut.after["weight"]}


@register_adapter(nn.GroupNorm, attributes=("num_groups", "num_channels"))
def _group_norm(cut: Cut) -> Mapping[str, Value]:
    channels = cut.after["weight"][0]
    groups = int(getattr(cut.module, "num_groups", 1))
    left = _per_group(cut, groups)
    if not set(left) <= {0, max(left)}:
        raise ModelError(
            f"the group norm '{cut.path}' would keep {left} channels of its groups; "
            "prune whole groups, or the same number of channels in each"
        )
    return {"num_groups": int(np.count_nonzero(left)), "num_channels": channels}


def _per_group(cut: Cut, groups: int) -> list[int]:
    """How many positions of dimension 0 of the weight stay, in each of the groups that it is split into."""
    size = cut.before["weight"][0]
    stays = cut.stays.get(("weight", 0), np.arange(size))
    return [int(n) for n in np.bincount(stays // (size // groups), minlength=groups)]


@register_adapter(nn.PReLU, attributes=("num_parameters",))
def _prelu(cut: Cut) -> Mapping[str, Value]:
    return {"num_parameters": cut.after["weight"][0]}


@register_adapter(nn.Embedding, nn.EmbeddingBag, attributes=("num_embeddings", "embedding_dim"))
def _embedding(cut: Cut) -> Mapping[str, Value]:
    rows, features = cut.after["weight"]
    return {"num_embeddings": rows, "embedding_dim": features}


@register_adapter(nn.MultiheadAttention, attributes=("num_heads", "embed_dim", "kdim", "vdim"))
def _multihead_attention(cut: Cut) -> Mapping[str, Value]:
    """Heads of the dense width; the forward works only if those that stay fill the embedding width."""
    depth, heads = (int(getattr(cut.module, name, 1)) for name in ("head_dim", "num_heads"))
    width = cut.after["out_proj.weight"][1]
    embedding = cut.after["in_proj_weight" if "in_proj_weight" in cut.after else "q_proj_weight"][1]
    kdim, vdim = (cut.after.get(f"{name}_proj_weight", (0, embedding))[1] for name in "kv")
    return {
        "num_heads": heads if width % depth else width // depth,
        "embed_dim": embedding,
        "kdim": kdim,
        "vdim": vdim,
    }
