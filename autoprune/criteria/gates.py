"""Gates: a learned factor in 0..1 on every unit of a network, and the price of keeping it open."""

from abc import ABC, abstractmethod
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from autoprune.criteria.criterion import Context
from autoprune.criteria.filters import producers
from autoprune.errors import ArgumentError
from autoprune.graph import Axis, Group, PruneGraph
from autoprune.graph.export import device_of


class Relaxation(ABC):
    """How a gate follows from its parameter a, so that a can be learned by gradient.

    Attributes:
        name: What `relaxation(name)` makes the same object from.
    """

    name: str

    @abstractmethod
    def draw(self, a: Tensor, generator: torch.Generator) -> Tensor:
        """Gates in 0..1 for one step of training, of the shape of `a`."""

    @abstractmethod
    def open(self, a: Tensor) -> Tensor:
        """The probability that a gate is not zero: what the sparsity regularizer adds up."""

    @abstractmethod
    def expected(self, a: Tensor) -> Tensor:
        """The expected gate, in 0..1; it rises with `a`."""


class HardConcrete(Relaxation):
    """Stretched and clipped binary concrete gates (Louizos et al. 2018, arXiv:1712.01312, eq. 10 to 12).

    `z = min(1, max(0, s (zeta - gamma) + gamma))`, `s = sigmoid((log u - log(1 - u) + a) / beta)`, u uniform.

    Args:
        beta: Temperature.
        gamma: Lower end of the stretched interval, below 0.
        zeta: Upper end, above 1.

    Raises:
        ArgumentError: A value outside these rules.
    """

    name = "hard_concrete"

    def __init__(self, beta: float = 2 / 3, gamma: float = -0.1, zeta: float = 1.1) -> None:
        if not (beta > 0 and gamma < 0 and zeta > 1):
            raise ArgumentError(
                f"beta must be above 0, gamma below 0 and zeta above 1, got {beta}, {gamma} and {zeta}"
            )
        self.beta, self.gamma, self.zeta = beta, gamma, zeta

    def draw(self, a: Tensor, generator: torch.Generator) -> Tensor:
        """See `Relaxation.draw`."""
        u = torch.rand(a.shape, generator=generator, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
        return self._gate(u.to(a), a)

    def open(self, a: Tensor) -> Tensor:
        """`sigmoid(a - beta log(-gamma / zeta))`, equation 12."""
        return torch.sigmoid(a - self.beta * log(-self.gamma / self.zeta))

    def expected(self, a: Tensor) -> Tensor:
        """The mean over 512 equally likely values of u."""
        u = (torch.arange(512, dtype=torch.float64, device=a.device) + 0.5) / 512
        return self._gate(u, a.double()[..., None]).mean(-1)

    def _gate(self, u: Tensor, a: Tensor) -> Tensor:
        s = torch.sigmoid((torch.log(u) - torch.log1p(-u) + a) / self.beta)
        return (s * (self.zeta - self.gamma) + self.gamma).clamp(0, 1)


class StraightThrough(Relaxation):
    """Gates that are open or shut at `sigmoid(a) = 1/2`; the gradient passes as if they were `sigmoid(a)`.

    Bengio et al. 2013, arXiv:1308.3432.
    """

    name = "straight_through"

    def draw(self, a: Tensor, generator: torch.Generator) -> Tensor:
        """See `Relaxation.draw`; nothing is drawn."""
        soft = torch.sigmoid(a)
        return (soft >= 0.5).to(soft) + soft - soft.detach()

    def open(self, a: Tensor) -> Tensor:
        """`sigmoid(a)`."""
        return torch.sigmoid(a)

    def expected(self, a: Tensor) -> Tensor:
        """`sigmoid(a)`."""
        return torch.sigmoid(a.double())


class Scale(Relaxation):
    """A plain factor `sigmoid(a)`: a scaling factor per unit, without any hard gate."""

    name = "scale"

    def draw(self, a: Tensor, generator: torch.Generator) -> Tensor:
        """See `Relaxation.draw`; nothing is drawn."""
        return torch.sigmoid(a)

    def open(self, a: Tensor) -> Tensor:
        """`sigmoid(a)`, its L1 norm per unit."""
        return torch.sigmoid(a)

    def expected(self, a: Tensor) -> Tensor:
        """`sigmoid(a)`."""
        return torch.sigmoid(a.double())


RELAXATIONS: dict[str, type[Relaxation]] = {r.name: r for r in (HardConcrete, StraightThrough, Scale)}
"""Relaxations by name."""


def relaxation(name: str | Relaxation) -> Relaxation:
    """The relaxation of that name, or the given object.

    Raises:
        ArgumentError: An unknown name.
    """
    if isinstance(name, Relaxation):
        return name
    if name not in RELAXATIONS:
        raise ArgumentError(f"relaxation must be one of {', '.join(RELAXATIONS)}, got '{name}'")
    return RELAXATIONS[name]()


class Gated(nn.Module):
    """A network with a gate on every unit of every prunable group; it can be called and trained like it.

    A gate multiplies the unit's channels where layers read them (their weights' columns), or where they are
    put out if no layer reads them. The network itself is not changed: its weights are multiplied on the way.
    In eval mode the expected gates are used.

    Example of scores that are learned during fine-tuning:
        >>> gated = Gated(graph, model)
        >>> Trainer().train(gated, loader, epochs=3, penalty=lambda: 0.1 * gated.open())
        >>> scores = gated.expected()

    Args:
        graph: Of the network.
        model: The network; it is trained with the gates by whoever trains `parameters()`.
        kind: "hard_concrete", "straight_through", "scale", or an object.
        start: First value of every gate's parameter.
        seed: Of the gates that are drawn.
    """

    def __init__(
        self,
        graph: PruneGraph,
        model: nn.Module,
        kind: str | Relaxation = "hard_concrete",
        start: float = 2.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.relaxation = relaxation(kind)
        self.network = model
        device = device_of(model)
        self._names = [group.name for group in graph.prunable]
        self.gates = nn.ParameterList(
            [nn.Parameter(torch.full((group.size,), float(start), device=device)) for group in graph.prunable]
        )
        context = Context.of(graph, model)
        self._places = [_places(group, context) for group in graph.prunable]
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network computes with these gates."""
        gates = [
            self.relaxation.draw(a, self._generator) if self.training else self.relaxation.expected(a)
            for a in self.gates
        ]
        return functional_call(self.network, self._weights(gates), args, kwargs)

    def open(self) -> Tensor:
        """The expected share of open gates over all units, a scalar in 0..1: the sparsity regularizer."""
        return torch.cat([self.relaxation.open(a) for a in self.gates]).mean()

    def expected(self) -> dict[str, Tensor]:
        """Expected gates, float64, shape (size,) by group name."""
        with torch.no_grad():
            values = [self.relaxation.expected(a).cpu() for a in self.gates]
        return dict(zip(self._names, values, strict=True))

    def _weights(self, gates: list[Tensor]) -> dict[str, Tensor]:
        """The tensors that gates change, by name."""
        changed: dict[str, Tensor] = {}
        for gate, places in zip(gates, self._places, strict=True):
            for axis in places:
                tensor = changed.get(axis.parameter)
                tensor = self.network.get_parameter(axis.parameter) if tensor is None else tensor
                changed[axis.parameter] = _times(tensor, axis, gate.to(tensor.dtype))
        return changed


def _times(tensor: Tensor, axis: Axis, gate: Tensor) -> Tensor:
    """`tensor` with the positions of every unit along the axis multiplied with its gate."""
    index = torch.as_tensor(axis.indices, device=tensor.device)
    factors = tensor.new_ones(tensor.shape[axis.dim])
    factors = factors.index_put((index.flatten(),), gate[:, None].expand(index.shape).flatten())
    return tensor * factors.view([-1 if d == axis.dim else 1 for d in range(tensor.dim())])


def _places(group: Group, context: Context) -> tuple[Axis, ...]:
    """Where layers read the group: the input dimension of their weights; else where it is put out."""
    kinds = {layer.weight: layer.kind for layer in context.graph.layers}
    read = [
        a
        for a in group.axes
        if a.parameter in kinds and a.dim == int(kinds[a.parameter] != "conv_transposed")
    ]
    return tuple(read) or producers(group, context)
