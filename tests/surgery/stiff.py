"""Small networks whose Python code holds sizes that pruning changes."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Viewed(nn.Module):
    """Sizes of channels written into views."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.body = nn.Conv2d(8, 6, 3, padding=1)
        self.head = nn.Linear(6 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.max_pool2d(F.relu(self.body(x)), 2)
        return self.head(x.view(len(x), 6 * 16))


class Split(nn.Module):
    """Constant parts of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.split(self.stem(x), [8, 8], 1)
        return self.head((F.relu(a) + torch.sigmoid(b)).mean((2, 3)))


class Counted(nn.Module):
    """The number of channels as an attribute of no known class."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = 8
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.body(F.relu(self.stem(x))))
        x = x.reshape(x.shape[0], self.channels, -1).amax(2)
        return self.head(x[:, : self.channels])


class Asking(nn.Module):
    """Silently something else where the width is another one."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 12)
        self.body = nn.Linear(12, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.up(x))
        if x.shape[1] == 12:
            x = 2 * x
        return self.head(F.relu(self.body(x)))


class Residual(nn.Module):
    """A residual stream, batch norms, and a view that knows the width of the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv3 = nn.Conv2d(8, 12, 3, stride=2)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = x + self.conv2(self.norm1(self.conv1(x)).relu())
        x = x.view(-1, 8, 8, 8)
        return self.head(F.dropout(self.conv3(x).relu().mean((2, 3)), 0.2, self.training))


class RowByRow(nn.Module):
    """One bad group, and a loop over the batch that no export can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Conv2d(8, 6, 3, padding=1)
        self.last = nn.Conv2d(6, 7, 1)
        self.head = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.body(F.relu(self.stem(x))))
        x = torch.stack([row.view(6, 8, 8) for row in x])
        return self.head(F.relu(self.last(x)).mean((2, 3)))


class SingleImage(nn.Module):
    """Takes one image only, and says so in its views."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.stem(x)).view(1, 8, 64).mean(2))


class Named(nn.Module):
    """Dict in, dict out, an optional input, and a number of heads as a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 4
        self.embed = nn.Embedding(20, 12)
        self.up = nn.Linear(12, 8)
        self.head = nn.Linear(8, 3)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, scale: Tensor | None = None
    ) -> dict[str, Tensor]:
        x = F.gelu(self.up(self.embed(tokens)))
        x = x.view(len(tokens), tokens.shape[1], self.heads, 2).transpose(1, 2)
        if mask is not None:
            x = x * mask[:, None, :, None]
        x = x.transpose(1, 2).reshape(len(tokens), tokens.shape[1], -1)
        return {"logits": self.head(x.mean(1)), "hidden": x.sum((1, 2))}


def image(count: int = 2, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, 8, 8, generator=torch.Generator().manual_seed(1))


def tokens(count: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "tokens": torch.randint(0, 20, (count, 7), generator=generator),
        "mask": torch.rand(count, 7, generator=generator),
    }


Make = Callable[[], nn.Module]
STIFF: Mapping[str, tuple[Make, Callable[[int], Any]]] = {
    "viewed": (Viewed, image),
    "split": (Split, image),
    "counted": (Counted, image),
    "asking": (Asking, lambda count: image(count)[:, 0, 0, :6]),
    "residual": (Residual, lambda count: image(count, 1)),
    "named": (Named, tokens),
}
"""Networks that need the rewritten graph, with their inputs for a batch of any size."""


def stiff(name: str) -> tuple[nn.Module, Callable[[int], Any]]:
    """A network in eval mode with batch-norm statistics that matter, and its inputs."""
    torch.manual_seed(0)
    make, inputs = STIFF[name]
    model = make()
    if name in ("viewed", "residual"):
        for _ in range(10):
            model.train()(inputs(16) * 2 + 0.3)
    return model.eval(), inputs
