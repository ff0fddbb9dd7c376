"""Random programs over tensors of any rank, for property tests: whatever PyTorch accepts is a step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (4, 6, 8, 12)
UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "square": torch.square,
    "shift": lambda x: x + 0.3,
    "in place": lambda x: x.clone().mul_(0.5).sigmoid_(),
    "outer": lambda x: x.transpose(0, 1).contiguous(),
}
# Functions of (tensor, dimension, number from the generator).
ALONG: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "softmax": lambda x, d, n: x.softmax(d),
    "sum": lambda x, d, n: x.sum(d, keepdim=n % 2 == 0),
    "mean": lambda x, d, n: x.mean(d, keepdim=n % 2 == 0),
    "maximum": lambda x, d, n: x.amax(d, keepdim=n % 2 == 0),
    "norm": lambda x, d, n: x / (1 + x.norm(dim=d, keepdim=True)),
    "swap": lambda x, d, n: x.transpose(d, n % x.ndim),
    "merge": lambda x, d, n: x.flatten(d, d + 1),
    "split": lambda x, d, n: x.unflatten(d, (2 + n % 2, -1)),
    "chunk": lambda x, d, n: x.chunk(2 + n % 2, d)[n % 2],
    "parts": lambda x, d, n: torch.cat([part * i for i, part in enumerate(x.chunk(2, d))], d),
    "unbind": lambda x, d, n: torch.stack([part * i for i, part in enumerate(x.unbind(d))], n % x.ndim),
    "take": lambda x, d, n: x.select(d, n % x.shape[d]),
    "window": lambda x, d, n: x.narrow(d, 0, 1 + n % x.shape[d]),
    "flip": lambda x, d, n: x.flip(d),
    "running sum": lambda x, d, n: x.cumsum(d),
    "copies": lambda x, d, n: torch.cat([x, x], d),
    "repeat": lambda x, d, n: x.repeat_interleave(2, d),
    "gate": lambda x, d, n: F.glu(x, d),
    "roll": lambda x, d, n: x.roll(1, d),
}
BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "mul": torch.mul,
    "larger": torch.maximum,
    "divide": lambda x, y: x / (1 + y.abs()),
    "choose": lambda x, y: torch.where(x > y, x, y * 2),
    "product": torch.matmul,
    "scores": lambda x, y: x @ y.transpose(-1, -2),
    "join": lambda x, y: torch.cat([x, y], 1),
    "stack": lambda x, y: torch.stack([x, y], 1),
    "attend": lambda x, y: F.scaled_dot_product_attention(x, y, y * 0.5),
    "expand": lambda x, y: x.expand_as(y),
}


class TensorProgram(nn.Module):
    """Runs steps on a growing list of tensors; a linear layer reads the last one, another an earlier one."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, ...]] = []
        self.layers = nn.ModuleList()
        self.vectors = nn.ParameterList()
        self.heads: list[tuple[int, int]] = []

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [x]
        for step in self.steps:
            found.append(self.step(step, found))
        return [self.layers[head](found[at].flatten(1)) for at, head in self.heads]

    def step(self, step: tuple[Any, ...], found: list[Tensor]) -> Tensor:
        kind, name, *operands = step
        if kind == "layer":
            return self.layers[name](found[operands[0]])
        if kind == "vector":
            return found[operands[0]] * self.vectors[name] + self.vectors[name]
        if kind == "unary":
            return UNARY[name](found[operands[0]])
        if kind == "along":
            return ALONG[name](found[operands[0]], operands[1], operands[2])
        return BINARY[name](found[operands[0]], found[operands[1]])


def tensor_program(seed: int) -> tuple[TensorProgram, Tensor]:
    """A random program and its input."""
    generator = np.random.default_rng(seed)
    program = TensorProgram().double()
    x = torch.randn(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = [x]
    length = int(generator.integers(4, 14))
    for _ in range(100):
        if len(found) == length:
            break
        step = _propose(program, generator, found)
        try:
            result = program.step(step, found).detach()
        except (RuntimeError, IndexError, ValueError):
            continue
        if 0 < result.numel() < 3000 and 1 < result.ndim < 6:
            program.steps.append(step)
            found.append(result)
    for at in {len(found) - 1, int(generator.integers(1, len(found)))}:
        program.layers.append(nn.Linear(found[at][0].numel(), 3).double())
        program.heads.append((at, len(program.layers) - 1))
    return program, x


def _propose(program: TensorProgram, generator: np.random.Generator, found: list[Tensor]) -> tuple[Any, ...]:
    """One random step; it may turn out to be impossible."""
    at = int(generator.integers(max(0, len(found) - 4), len(found)))
    x, number = found[at], int(generator.integers(100))
    kind = str(generator.choice(["layer", "vector", "unary", "along", "along", "along", "binary", "binary"]))
    if kind == "layer" or len(found) == 1:
        program.layers.append(_layer(x, generator))
        return "layer", len(program.layers) - 1, at
    if kind == "vector":
        shape = [size if generator.integers(2) else 1 for size in x.shape]
        program.vectors.append(nn.Parameter(torch.ones(shape, dtype=torch.float64)))
        return "vector", len(program.vectors) - 1, at
    if kind == "unary":
        return kind, str(generator.choice(list(UNARY))), at
    if kind == "along":
        return kind, str(generator.choice(list(ALONG))), at, number % x.ndim, int(generator.integers(100))
    return kind, str(generator.choice(list(BINARY))), at, number % len(found)


def _layer(x: Tensor, generator: np.random.Generator) -> nn.Module:
    kind = int(generator.integers(6))
    if kind == 0:
        return nn.LayerNorm(x.shape[-1]).double()
    if kind == 1 and x.ndim in (2, 3):
        return nn.BatchNorm1d(x.shape[1]).double()
    if kind == 2 and x.ndim == 3:
        groups = int(generator.choice([g for g in range(1, x.shape[1] + 1) if x.shape[1] % g == 0]))
        return nn.Conv1d(
            x.shape[1], groups * int(generator.integers(1, 4)), 3, padding=1, groups=groups
        ).double()
    return nn.Linear(x.shape[-1], int(generator.choice(WIDTHS)), bias=bool(generator.integers(2))).double()
