"""Prune a ResNet that was trained on a folder of images.

    python examples/image_folder.py            # on a small folder that is made on the spot
    python examples/image_folder.py PHOTOS     # on yours: PHOTOS/CLASS/anything.jpg

The folder is split in three: to train, to search, and to test at the end.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, random_split

import autoprune

try:
    from PIL import Image
except ImportError as error:
    sys.exit(f"this example needs pillow: pip install pillow ({error})")

SIZE = 32


def make_folder(folder: Path, per_class: int = 120) -> Path:
    """Noisy images of three classes: stripes across, stripes down, and a disc."""
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    disc = (rows - SIZE / 2) ** 2 + (columns - SIZE / 2) ** 2 < (SIZE / 4) ** 2
    patterns = {"across": rows // 4 % 2, "down": columns // 4 % 2, "disc": disc}
    generator = torch.Generator().manual_seed(0)
    for name, pattern in patterns.items():
        (folder / name).mkdir()
        for number in range(per_class):
            noise = torch.randn(3, SIZE, SIZE, generator=generator)
            pixels = (90 + 60 * pattern + 45 * noise).clamp(0, 255).to(torch.uint8)
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / name / f"{number}.png")
    return folder


class Photos(Dataset[tuple[Tensor, int]]):
    """All images below a folder, a folder per class; torchvision's `ImageFolder` does the same."""

    def __init__(self, folder: Path) -> None:
        self.classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
        self.files = [(path, i) for i, name in enumerate(self.classes) for path in (folder / name).iterdir()]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        with Image.open(path) as image:
            small = image.convert("RGB").resize((SIZE, SIZE))
        pixels = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
        return (pixels.reshape(SIZE, SIZE, 3).permute(2, 0, 1) / 255 - 0.5) / 0.25, label


def load(folder: Path) -> tuple[autoprune.DataSplits, int]:
    """The loaders and the number of classes."""
    photos = Photos(folder)
    parts = random_split(photos, [0.6, 0.2, 0.2], torch.Generator().manual_seed(0))
    train, search, test = (DataLoader(part, 32, shuffle=i == 0) for i, part in enumerate(parts))
    return autoprune.DataSplits(train, search, test), len(photos.classes)


class Block(nn.Module):
    """Two convolutions and a shortcut, which holds a convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(y)) + self.shortcut(x)).relu()


class SmallResNet(nn.Module):
    """A ResNet for small images; nothing in it knows of pruning."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.body = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images of shape (N, 3, H, W) to scores of shape (N, classes)."""
        x = self.body(self.bn(self.stem(x)).relu())
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


def main() -> None:
    """Train, search, fine-tune, save, load."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else make_folder(place)
        data, classes = load(folder)
        model = SmallResNet(classes)
        autoprune.finetune(model, data.train, epochs=3, lr=0.05)  # your trained network instead
        print(f"dense: {autoprune.accuracy(model, data.test):.1%} of the test images are right")

        result = autoprune.search(
            model, torch.zeros(1, 3, SIZE, SIZE), data, "macs=40%", agent="surrogate", episodes=12
        )
        print(result.summary())
        autoprune.finetune(result.model, data.train, epochs=2)
        print(f"pruned and fine-tuned: {autoprune.accuracy(result.model, data.test):.1%}")

        autoprune.save(result.model, result.plan, place / "pruned-network")
        again = autoprune.load(place / "pruned-network", model)
        print(f"saved, loaded again: {sum(p.numel() for p in again.parameters()):,} parameters")


if __name__ == "__main__":
    main()
