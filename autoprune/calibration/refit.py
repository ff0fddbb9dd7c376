"""Sequential re-fit of a finished candidate on its own inputs."""

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.calibration.chains import ADDITIONS, Chain, Tracked
from autoprune.calibration.fold import Folding
from autoprune.calibration.intercept import LayerCall, NormCall
from autoprune.calibration.leastsquares import Regression
from autoprune.calibration.patches import Places, outputs_at
from autoprune.calibration.reconstruct import by_group
from autoprune.calibration.room import with_room
from autoprune.calibration.targets import Targets, record_targets
from autoprune.data import Batch
from autoprune.errors import ArgumentError
from autoprune.graph import Layer, PruneGraph
from autoprune.graph.export import device_of, evaluating, unwrap
from autoprune.graph.types import Indices
from autoprune.score.batches import call as forward
from autoprune.score.batches import resident

logger = logging.getLogger(__name__)

AGREES = 1e-9
"""A layer whose relative squared error is below this is left as it is."""

FEW = 64
"""Rows that are looked at first."""

PART = 128
"""Images per pass of the dense network."""

PULL = 1e-2
"""Ridge that draws towards the present weights, which are a good guess: least squares of all images."""

Slices = Mapping[str, Mapping[int, Indices]]


class Refit:
    """Re-fits pruned copies of one network, layer after layer, to what the dense network computes.

    The asymmetric, sequential reconstruction of He et al. 2017 (arXiv:1707.06168, section 3.2), in one pass:
    all images run through the pruned network at once; every layer whose output has come to differ gets the
    least-squares weights from the inputs that it sees now (of layers already re-fitted) to the dense values
    at the same positions, and the pass goes on with them. Further:

    - the aim is the value behind the layer's batch norm, and the batch norm keeps the dense variance and
      takes the fitted constant into its mean, so that the fit holds exactly as solved;
    - a layer whose value is added to another one aims at the dense sum minus what the other one is in the
      pruned network, so that every residual branch also repairs what went wrong before it;
    - in front of a ReLU only what passes it counts (Zhang et al. 2016, arXiv:1505.06798).

    Which of these apply is seen in a pass of the dense network; where the pattern is another one (a value
    that is read twice, an unknown function in between) the aim is the layer's plain output. Batch norms that
    no re-fitted layer feeds get the statistics of the pass.

    Args:
        graph: Of the dense network.
        dense: The dense network, in any mode; untouched. Its values are noted once, here.
        batches: Inputs, or (inputs, labels), or dicts. All images are held in memory with the activations
            of a few layers; `refit` takes as many as there is room for.
        positions: Output positions per image and layer.
        ridge: Relative to the mean diagonal element of the moment; it draws towards the present weights.
        relu_steps: Steps of the fit in front of a ReLU; 0 ignores it.
        seed: Seed of the positions.

    Raises:
        ArgumentError: `positions` below 1, `relu_steps` or `ridge` below 0.
        DataError: No images.
    """

    def __init__(
        self,
        graph: PruneGraph,
        dense: nn.Module,
        batches: Iterable[Any],
        *,
        positions: int = 16,
        ridge: float = PULL,
        relu_steps: int = 3,
        seed: int = 0,
    ) -> None:
        if positions < 1:
            raise ArgumentError(f"positions must be at least 1, got {positions}")
        if relu_steps < 0 or ridge < 0:
            raise ArgumentError(f"relu_steps and ridge must be at least 0, got {relu_steps} and {ridge}")
        dense = unwrap(dense)
        device = device_of(dense)
        self._whole: Batch = resident(batches, device, sys.maxsize)[0]
        parts = resident([self._whole], device, PART)
        self._graph = graph
        self._settings = ridge, relu_steps
        self._layers = [x for x in graph.layers if x.kind != "conv_transposed" and x.calls == 1]
        buffers = dict(dense.named_buffers())
        self._targets = record_targets(dense, self._layers, parts, positions, seed)
        self._chains = {name: target.chain for name, target in self._targets.items()}
        norms = [chain.norm for chain in self._chains.values() if chain.norm is not None]
        self._variances = {norm.variance: buffers[norm.variance].clone() for norm in norms}
        self._places: dict[str, Places] = {}

    def __call__(self, pruned: nn.Module, keep: Mapping[str, Sequence[int]]) -> Folding:
        """Re-fit a pruned copy in place; its modes stay.

        Args:
            pruned: The candidate, in the dense network's dtype and on its device.
            keep: Units that stay, by group; missing groups are whole.

        Returns:
            A context in which it runs faster, until its weights or statistics change again.

        Raises:
            ArgumentError: An unknown or locked group, or units that do not exist.
            ModelError: The pruned copy runs other operations than the dense network.
        """
        pruned = unwrap(pruned)
        slices = self._graph.slices(keep)
        self._restore_variances(pruned, slices)
        watch = _Refitting(
            pruned, self._layers, self._chains, self._targets, self._places, slices, *self._settings
        )
        with evaluating(pruned), torch.no_grad(), watch:
            forward(pruned, self._whole.inputs)
        return Folding(pruned, self._layers, self._chains, watch.made)

    def _restore_variances(self, pruned: nn.Module, slices: Slices) -> None:
        buffers = dict(pruned.named_buffers())
        for name, dense in self._variances.items():
            buffers[name].copy_(_kept(dense, slices, name, 0))


def refit(
    dense: nn.Module,
    pruned: nn.Module,
    graph: PruneGraph,
    keep: Mapping[str, Sequence[int]],
    batches: Iterable[Any],
    *,
    positions: int = 16,
    ridge: float = PULL,
    relu_steps: int = 3,
    seed: int = 0,
) -> None:
    """`Refit` for a single pruned network, in place.

    Batch-norm statistics need no recalibration afterwards; it would undo a part of the fit. Of large images
    only the first are used, so that the activations of the pass take about 1 GiB at most (but 128 of them);
    each then gives more positions, as many as all together would have given.

    Args:
        dense: The dense network; untouched.
        pruned: The candidate; changed in place.
        graph: Of the dense network.
        keep: Units that stay, by group.
        batches: Images, as in `Refit`.
        positions: As in `Refit`, of all images.
        ridge: As in `Refit`.
        relu_steps: As in `Refit`.
        seed: As in `Refit`.

    Raises:
        ArgumentError: As in `Refit`.
        DataError: As in `Refit`.
    """
    kept, total = with_room(unwrap(dense), batches)
    taken = sum(batch.size for batch in kept)
    if taken < total:
        positions = positions * total // taken
        logger.info("re-fitting on %d of %d images, %d positions of each", taken, total, positions)
    fit = Refit(graph, dense, kept, positions=positions, ridge=ridge, relu_steps=relu_steps, seed=seed)
    fit(pruned, keep)


def _kept(tensor: Tensor, slices: Slices, name: str, dim: int, of: int = 0) -> Tensor:
    stay = slices.get(name, {}).get(dim)
    return tensor if stay is None else tensor.index_select(of, torch.as_tensor(stay, device=tensor.device))


@dataclass(eq=False)
class _Pending:
    """A layer that waits for the sum that its value joins; until then its value is not computed."""

    call: LayerCall
    norm: NormCall | None = None


class _Refitting(Folding):
    """The pass over the pruned network."""

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        chains: Mapping[str, Chain],
        targets: Mapping[str, Targets],
        places: dict[str, Places],
        slices: Slices,
        ridge: float,
        relu_steps: int,
    ) -> None:
        super().__init__(model, layers, chains)
        self._targets, self._slices, self._places = targets, slices, places
        self._ridge, self._relu_steps = ridge, relu_steps
        self._changed = False
        self._pending = Tracked()
        self._waiting = 0
        self._fed = {chain.norm.mean for chain in chains.values() if chain.norm is not None}

    def on_layer(self, call: LayerCall) -> Tensor:
        name = call.layer.weight
        self._changed = self._changed or 1 in self._slices.get(name, {})
        target = self._targets.get(name)
        if not self._changed or target is None:
            return super().on_layer(call)
        if target.chain.joins:
            output = call.blank()
            self._pending[output] = _Pending(call)
            self._waiting += 1
            return output
        self._fit(call, target, None)
        return super().on_layer(call)

    def on_norm(self, call: NormCall) -> Tensor:
        waiting: _Pending | None = self._pending.pop(call.named["input"])
        if waiting is not None:
            waiting.norm = call
            output = torch.empty_like(call.named["input"])
            self._pending[output] = waiting
            return output
        if self._changed and call.norm.mean not in self._fed:
            return call.run(training=True, momentum=1.0)
        return super().on_norm(call)

    def on_other(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if function in ADDITIONS and not kwargs:
            for own, other in (args[:2], args[1::-1]):
                waiting: _Pending | None = self._pending.pop(own)
                if waiting is not None:
                    self._join(waiting, own, other)
        return super().on_other(function, args, kwargs)

    def _missing(self) -> str:
        return "some residual branches are not added to anything" if self._waiting else super()._missing()

    def _join(self, waiting: _Pending, own: Tensor, other: Tensor) -> None:
        self._fit(waiting.call, self._targets[waiting.call.layer.weight], other)
        value = super().on_layer(waiting.call)
        final = value if waiting.norm is None else super().on_norm(waiting.norm.at(value))
        own.set_(final)  # type: ignore[call-overload]
        self._cut[own] = self._cut.pop(final)
        self._waiting -= 1

    def _fit(self, call: LayerCall, target: Targets, other: Tensor | None) -> None:
        name = call.layer.weight
        if name not in self._places:
            self._places[name] = Places.of(call, target.positions)
        scale, shift = self._affine(target.chain, call)
        groups = call.groups
        values = _by_group(_kept(target.values, self._slices, name, 0, of=1), groups)
        added = None if other is None else _by_group(outputs_at(call, other, target.positions), groups)
        rows = self._places[name].patches(call, channels_last=True)
        values = values.to(rows.dtype)
        old = by_group(call.weight.movedim(1, -1), groups) * scale.view(groups, 1, -1)
        constant = call.bias is not None or target.chain.norm is not None
        regression = Regression(rows, constant, self._ridge, old)
        bias = call.bias if call.bias is not None else torch.zeros_like(shift)
        if _agrees(regression, old, (shift + scale * bias).view(groups, -1), values, added):
            return
        steps = self._relu_steps if target.chain.relu else 0
        weights, offset = regression.fit_relu(values, 0.0 if added is None else added, steps)
        self._store(call, target.chain, weights, offset.flatten(), scale, shift)

    def _affine(self, chain: Chain, call: LayerCall) -> tuple[Tensor, Tensor]:
        """Scale and shift of the batch norm behind the layer, shape (outputs,), float64."""
        outputs = len(call.weight)
        if chain.norm is None:
            one = torch.ones(outputs, dtype=torch.float64, device=call.weight.device)
            return one, torch.zeros_like(one)
        return chain.norm.affine(self._tensors)

    def _store(
        self, call: LayerCall, chain: Chain, weights: Tensor, offset: Tensor, scale: Tensor, shift: Tensor
    ) -> None:
        """Write `weights / scale`, and the constant into the batch norm's mean or the bias.

        Channels that the batch norm multiplies with 0 are left alone.
        """
        live = scale.abs() > 1e-8 * scale.abs().max()
        divisor = torch.where(live, scale, torch.ones_like(scale))
        shape = call.weight.movedim(1, -1).shape
        new = (weights / divisor.view(len(weights), 1, -1)).mT.reshape(shape).movedim(-1, 1)
        chosen = live.view(-1, *[1] * (call.weight.dim() - 1))
        call.weight.copy_(torch.where(chosen, new.to(call.weight.dtype), call.weight))
        if chain.norm is not None:
            mean = self._tensors[chain.norm.mean]
            bias = 0.0 if call.bias is None else call.bias.double()
            old = mean.double()
            # scale * (x W / scale + bias - new) + beta = x W + offset, where shift = beta - scale * old
            mean.copy_(torch.where(live, old + bias + (shift - offset) / divisor, old))
        elif call.bias is not None:
            call.bias.copy_(offset)


def _agrees(
    regression: Regression, weights: Tensor, offset: Tensor, values: Tensor, added: Tensor | None
) -> bool:
    """Whether a layer yields what it should already; a few rows usually tell that it does not."""
    limit = AGREES * float(values.square().sum())
    for first in (FEW, None):
        error = regression.predict(weights, offset, first) - values[:, :first]
        error = error if added is None else error + added[:, :first]
        if float(error.square().sum()) > limit:
            return False
    return True


def _by_group(rows: Tensor, groups: int) -> Tensor:
    return rows.view(len(rows), groups, -1).transpose(0, 1)
