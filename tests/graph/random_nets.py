"""Random networks of the basic vocabulary, for property tests."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

SIDE = 4
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu_": lambda x: F.relu_(x.clone()),
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "shift": lambda x: x + 0.5,
    "scale": lambda x: x * -2.0,
    "square": torch.square,
    "clamp": lambda x: x.clamp(-1.0, 0.5),
}


class Program(nn.Module):
    """Runs a list of steps on a growing list of feature maps, all of one height and width.

    `followed` says whether the forward itself can follow every pruning; a shuffle holds its number of groups.
    `attends` says whether there is attention; its forward holds the width of a head, not their number.
    """

    def __init__(self, steps: list[tuple[Any, ...]], layers: nn.ModuleDict, head: str, followed: bool):
        super().__init__()
        self.steps, self.layers, self.kind, self.followed = steps, layers, head, followed
        self.attends = any(step[0] == "attend" for step in steps)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for step in self.steps:
            maps.append(self.step(step, maps))
        last = maps[-1]
        if self.kind == "flatten":
            return self.layers["head"](last.flatten(1))
        return self.layers["head"](last.mean((2, 3)) if self.kind == "mean" else last.amax((2, 3)))

    def step(self, step: tuple[Any, ...], maps: list[Tensor]) -> Tensor:
        kind, *operands = step
        if kind == "layer":
            return self.layers[operands[0]](maps[operands[1]])
        if kind == "act":
            return ACTIVATIONS[operands[0]](maps[operands[1]])
        if kind == "gate":
            pooled = maps[operands[1]].mean((2, 3), keepdim=True)
            return maps[operands[1]] * torch.sigmoid(self.layers[operands[0]](pooled))
        if kind == "attend":
            return self.attend(maps[operands[0]], *operands[1:])
        if kind == "shuffle":
            x = maps[operands[1]]
            return x.unflatten(1, (operands[0], -1)).transpose(1, 2).flatten(1, 2)
        if kind == "parts":
            return torch.cat(maps[operands[1]].unflatten(1, (operands[0], -1)).unbind(1)[::-1], 1)
        if kind == "half":
            first, second = maps[operands[0]].chunk(2, 1)
            return first * second if operands[1] else torch.cat([second, first.relu()], 1)
        if kind == "upscale":
            return F.avg_pool2d(F.pixel_shuffle(maps[operands[0]], 2), 2)
        a, b = maps[operands[0]], maps[operands[1]]
        return (
            {"add": a.add, "mul": a.mul, "max": a.maximum}[kind](b) if kind != "cat" else torch.cat([a, b], 1)
        )

    def attend(self, x: Tensor, names: tuple[str, ...], depth: int, by_hand: bool) -> Tensor:
        """Attention over the pixels, heads of `depth` channels, by PyTorch's kernel or by hand."""
        q, k, v = (
            self.layers[name](x).flatten(2).unflatten(1, (-1, depth)).transpose(2, 3) for name in names[:3]
        )
        if by_hand:
            y = torch.softmax(q @ k.transpose(2, 3) * 0.5, -1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        return self.layers[names[3]](y.transpose(2, 3).flatten(1, 2).unflatten(2, x.shape[2:]))


@st.composite
def programs(draw: Any) -> Program:
    """A random program with its layers; every feature map may be used again by any later step."""
    widths = [3]
    steps: list[tuple[Any, ...]] = []
    layers = nn.ModuleDict()
    followed = True

    def add(step: tuple[Any, ...], width: int) -> None:
        steps.append(step)
        widths.append(width)

    def layer(module: nn.Module) -> str:
        layers[f"l{len(layers)}"] = module
        return f"l{len(layers) - 1}"

    def divisor(number: int) -> int:
        return draw(st.sampled_from([d for d in range(1, number + 1) if number % d == 0]))

    add(("layer", layer(nn.Conv2d(3, 6, 3, padding=1)), 0), 6)
    kinds = [
        "conv",
        "conv",
        "conv",
        "grouped",
        "depthwise",
        "norm",
        "act",
        "again",
        "add",
        "mul",
        "max",
        "cat",
    ]
    kinds += ["gate", "shuffle", "half", "parts", "product", "group_norm", "attend", "upscale"]
    for _ in range(draw(st.integers(2, 9))):
        kind = draw(st.sampled_from(kinds))
        at = draw(st.integers(max(1, len(widths) - 3), len(widths) - 1))
        c = widths[at]
        partners = [i for i in range(1, len(widths)) if widths[i] == c]
        if kind in ("conv", "grouped", "depthwise"):
            groups = 1 if kind == "conv" else c if kind == "depthwise" else divisor(c)
            out = groups * draw(st.integers(1, 3 if groups > 1 else 8))
            kernel = draw(st.sampled_from([1, 3]))
            conv = nn.Conv2d(c, out, kernel, padding=kernel // 2, groups=groups, bias=draw(st.booleans()))
            add(("layer", layer(conv), at), out)
        elif kind == "norm":
            add(("layer", layer(nn.BatchNorm2d(c, affine=draw(st.booleans()))), at), c)
        elif kind == "group_norm":
            add(("layer", layer(nn.GroupNorm(divisor(c), c)), at), c)
        elif kind == "act":
            add(("act", draw(st.sampled_from(sorted(ACTIVATIONS))), at), c)
        elif kind == "again":
            same = [k for k, m in layers.items() if isinstance(m, nn.Conv2d) and m.in_channels == c]
            if same:
                name = draw(st.sampled_from(same))
                add(("layer", name, at), layers[name].out_channels)  # type: ignore[arg-type]
        elif kind in ("add", "mul", "max"):
            add((kind, at, draw(st.sampled_from(partners))), c)
        elif kind == "cat":
            other = draw(st.integers(0, len(widths) - 1))
            if c + widths[other] <= 16:
                add(("cat", at, other), c + widths[other])
        elif kind == "gate":
            add(("gate", layer(nn.Conv2d(c, c, 1)), at), c)
        elif kind == "attend":
            depth = draw(st.sampled_from([2, 3]))
            width = depth * draw(st.integers(2, 3))
            shared = draw(st.booleans())
            names = [
                layer(nn.Conv2d(c, width, 1, bias=draw(st.booleans()))) for _ in range(2 if shared else 3)
            ]
            names.insert(1, names[0]) if shared else None  # queries and keys by one module
            out = layer(nn.Conv2d(width, c, 1))
            add(("attend", at, (*names, out), depth, draw(st.booleans())), c)
        elif kind == "upscale" and c % 4 == 0:
            add(("upscale", at), c // 4)
        elif kind == "shuffle":
            followed = False
            add(("shuffle", divisor(c), at), c)
        elif kind == "parts":
            add(("parts", divisor(c), at), c)
        elif kind == "half" and c % 2 == 0:
            add(("half", at, False), c)
        elif kind == "product" and c % 2 == 0:
            add(("half", at, True), c // 2)
    kind = draw(st.sampled_from(["flatten", "mean", "max"]))
    layers["head"] = nn.Linear(widths[-1] * (SIDE * SIDE if kind == "flatten" else 1), 3)
    return Program(steps, layers, kind, followed)
