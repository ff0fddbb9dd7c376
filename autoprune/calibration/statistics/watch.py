"""Showing the activations of every unit to the statistics that want them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from autoprune.calibration.chains import Tracked
from autoprune.calibration.intercept import LayerCall, Watch
from autoprune.calibration.statistics.readers import Place, readers
from autoprune.calibration.statistics.statistic import Statistic, Subject
from autoprune.calibration.statistics.units import UnitStatistic, of_units, over_map

_TRANSPOSED = frozenset(
    {functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d}
)


_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")


class StatisticsWatch(Watch):
    """Runs beside a forward pass; what needs gradients is worked out during the backward pass.

    Args:
        subject: What is calibrated.
        statistics: Who is shown the layers, and the activations.
    """

    def __init__(self, subject: Subject, statistics: Sequence[Statistic]) -> None:
        super().__init__(subject.model, subject.graph.layers)
        self.images = 0
        self._statistics = statistics
        units = [s for s in statistics if isinstance(s, UnitStatistic)]
        self._inputs, self._outputs = readers(subject.graph) if units else ({}, {})
        self._now = [s for s in units if not s.gradients]
        self._later = [s for s in units if s.gradients]
        self._found: dict[UnitStatistic, dict[str, list[Tensor]]] = {s: {} for s in units}
        self._seen = Tracked()

    def on_layer(self, call: LayerCall) -> Tensor:
        """See `Watch.on_layer`."""
        behind = call.weight.dim() - 1 if call.layer.kind != "linear" else 1
        name, inputs = call.layer.weight, call.named["input"]
        self._look(self._inputs.get(name, ()), inputs, inputs.dim() - behind)
        output = call.run()
        self._look(self._outputs.get(name, ()), output, output.dim() - behind, clone=True)
        with torch.no_grad():
            for statistic in self._statistics:
                statistic.layer(call, output)
        return output

    def on_other(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Transposed convolutions are layers here."""
        if function in _TRANSPOSED:
            named = dict(zip(_ARGUMENTS, args, strict=False)) | dict(kwargs)
            layer = self._layers.get(id(named["weight"]))
            if layer is not None:
                return self.on_layer(LayerCall(layer, function, named))
        return function(*args, **kwargs)

    def finish(self) -> None:
        """Hand over what one batch gave, after its backward pass."""
        for statistic, groups in self._found.items():
            for name, values in groups.items():
                total = torch.stack(values).sum(0)
                statistic.add(name, total if statistic.summed else total / len(values))
            groups.clear()

    def _look(self, places: Sequence[Place], tensor: Tensor, dim: int, clone: bool = False) -> None:
        """Note a tensor; an output may be changed in place before the backward pass, hence the clone."""
        seen: set[tuple[str, int]] = self._seen.get(tensor) or set()
        new = [p for p in places if (p.group, tensor._version) not in seen]
        if not new:
            return
        self._seen[tensor] = seen | {(p.group, tensor._version) for p in new}
        values = tensor.detach()
        self._show(self._now, new, dim, values, None)
        if self._later and tensor.requires_grad:
            kept = values.clone() if clone else values
            tensor.register_hook(partial(self._show, self._later, new, dim, kept))  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _show(
        self,
        statistics: Sequence[UnitStatistic],
        places: Sequence[Place],
        dim: int,
        values: Tensor,
        gradients: Tensor | None,
    ) -> None:
        for statistic in statistics:
            rows = over_map(statistic.places(values, gradients), dim, self.images)
            for group, channels in places:
                found = statistic.of_image(of_units(rows, channels.to(rows.device)))
                self._found[statistic].setdefault(group, []).append(found)
