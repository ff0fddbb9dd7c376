"""What one pass over calibration images leaves behind, in memory and on disk."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from safetensors import SafetensorError, safe_open
from torch import Tensor

from autoprune.calibration.intercept import Norm
from autoprune.calibration.moments import Moment
from autoprune.errors import ArgumentError, PlanError
from autoprune.files import StrPath, write_tensors
from autoprune.graph import PruneGraph

VERSION = 1


@dataclass(frozen=True, eq=False)
class Calibration:
    """What one pass over calibration images leaves behind.

    Attributes:
        graph: The graph that it was made for.
        moments: Moment of every consumer of a prunable group, by name of its weight.
        norms: The batch normalization right behind a consumer, by name of its weight.
        skipped: Why a consumer has none, by name of its weight.
        images: How many images were read.
        positions: Sampled output positions per image.
        seed: Seed of the sampling.
        statistics: What else was gathered in the same pass, by name; see `autoprune.calibration.statistics`.
    """

    graph: PruneGraph = field(repr=False)
    moments: Mapping[str, Moment] = field(repr=False)
    norms: Mapping[str, Norm] = field(repr=False)
    skipped: Mapping[str, str]
    images: int
    positions: int
    seed: int
    statistics: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict, repr=False)

    def statistic(self, name: str) -> Mapping[str, Tensor]:
        """What the statistic of that name gathered.

        Raises:
            ArgumentError: It was not gathered.
        """
        if name not in self.statistics:
            held = ", ".join(self.statistics) or "none"
            raise ArgumentError(
                f"the calibration must hold the statistic '{name}', but holds {held}; "
                f"pass statistics=['{name}'] to calibrate"
            )
        return self.statistics[name]

    def save(self, path: StrPath) -> None:
        """Write one safetensors file, in one step; all but the tensors lies in its header as JSON.

        Raises:
            OSError: The file cannot be written.
        """
        tensors: dict[str, Tensor] = {}
        for name, moment in self.moments.items():
            tensors[f"second:{name}"], tensors[f"mean:{name}"] = moment.second, moment.mean
        for name, found in self.statistics.items():
            tensors |= {f"statistic:{name}:{key}": tensor for key, tensor in found.items()}
        header = {
            "version": VERSION,
            "fingerprint": {name: list(shape) for name, shape in self.graph.fingerprint.items()},
            "rows": {name: moment.rows for name, moment in self.moments.items()},
            "norms": {name: list(norm) for name, norm in self.norms.items()},
            "skipped": dict(self.skipped),
            "images": self.images,
            "positions": self.positions,
            "seed": self.seed,
            "statistics": {name: list(found) for name, found in self.statistics.items()},
        }
        write_tensors(path, tensors, {"calibration": json.dumps(header)})

    @classmethod
    def load(cls, path: StrPath, graph: PruneGraph) -> "Calibration":
        """Read what `save` wrote.

        Args:
            path: The file.
            graph: Graph of the same network.

        Raises:
            FileNotFoundError: There is no such file.
            PlanError: The file is damaged, or belongs to another network.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {})["calibration"])
                moments = {
                    name: Moment(file.get_tensor(f"second:{name}"), file.get_tensor(f"mean:{name}"), rows)
                    for name, rows in header["rows"].items()
                }
                statistics = {
                    name: {key: file.get_tensor(f"statistic:{name}:{key}") for key in keys}
                    for name, keys in header.get("statistics", {}).items()
                }
            found = {name: tuple(shape) for name, shape in header["fingerprint"].items()}
            rest = {key: header[key] for key in ("skipped", "images", "positions", "seed")}
            norms = {name: Norm(*norm) for name, norm in header["norms"].items()}
            version = header["version"]
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise PlanError(f"'{path}' must be a calibration file, but it is damaged: {error}") from error
        if version != VERSION:
            raise PlanError(f"'{path}' has version {version}, not {VERSION}; calibrate again")
        if found != {name: tuple(shape) for name, shape in graph.fingerprint.items()}:
            raise PlanError(f"'{path}' belongs to another network than the graph; calibrate this one")
        return cls(graph, moments, norms, **rest, statistics=statistics)
