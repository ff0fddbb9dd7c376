"""Times of layers on one target."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from autoprune.errors import ArgumentError
from autoprune.files import StrPath
from autoprune.latency.grid import Points, covers
from autoprune.latency.segments import Segment
from autoprune.latency.stored import Layer, TableFile, read, write
from autoprune.latency.target import Target
from autoprune.latency.template import Template


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """Measured times of layers, by what they compute: any network with such layers can use them.

    Attributes:
        target: Machine, threads, libraries, batch size and type of the measurements.
        layers: (layer, milliseconds by the values of its variables), by `Template.key`.
    """

    target: Target
    layers: Mapping[str, tuple[Template, Points]] = field(repr=False)

    def times(self, template: Template) -> Points:
        """Times of a layer, empty if it was never measured."""
        return self.layers[template.key][1] if template.key in self.layers else {}

    def missing(self, segments: Iterable[Segment]) -> list[Segment]:
        """The layers that the table lacks, or does not know up to their dense size."""
        return [s for s in segments if not covers(self.times(s.template), s.sizes)]

    def merged(self, other: "LatencyTable") -> "LatencyTable":
        """All times of both; where both have one, that of `other`.

        Raises:
            ArgumentError: The targets differ; the message says in what.
        """
        differences = self.target.differences(other.target)
        if differences:
            raise ArgumentError(
                f"latency tables must be of one target to be merged, but {'; '.join(differences)}"
            )
        layers = dict(self.layers)
        for key, (template, points) in other.layers.items():
            layers[key] = (template, {**self.times(template), **points})
        return replace(self, layers=layers)

    def check_target(self, *, allow_foreign: bool = False) -> tuple[str, ...]:
        """Refuse a table that was measured elsewhere.

        Args:
            allow_foreign: Accept it all the same.

        Returns:
            What differs between its target and this process, in words; empty if nothing does.

        Raises:
            ArgumentError: Something differs and that is not allowed.
        """
        differences = self.target.differences(self._here())
        if differences and not allow_foreign:
            raise ArgumentError(
                f"latency_table must be measured on this machine, with these threads and libraries, but "
                f"{'; '.join(differences)}; measure it anew with `autoprune profile`, or allow it"
            )
        return differences

    def _here(self) -> Target:
        target = self.target
        return Target.here(target.backend, batch=target.batch, dtype=target.dtype, device=target.device)

    def save(self, path: StrPath) -> None:
        """Write the table as JSON in one step.

        Raises:
            OSError: The folder cannot be written to.
        """
        layers = tuple(
            Layer(template=template, points=tuple(sorted(points.items())))
            for template, points in self.layers.values()
        )
        write(path, TableFile(target=self.target, layers=layers))

    @classmethod
    def load(cls, path: StrPath) -> "LatencyTable":
        """Read a table.

        Raises:
            ArgumentError: The file is missing, damaged or something else; the message names file and fault.
        """
        file = read(TableFile, path, "latency table")
        layers = {layer.template.key: (layer.template, layer.times()) for layer in file.layers}
        return cls(file.target, layers)

    @classmethod
    def of(cls, target: Target, layers: Sequence[tuple[Template, Points]]) -> "LatencyTable":
        """A table of these layers."""
        return cls(target, {template.key: (template, points) for template, points in layers})
