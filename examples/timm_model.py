"""Prune a network of timm.

    python examples/timm_model.py
    python examples/timm_model.py resnet18 224      # another name and image size; slower

The data is generated. For real use, take `pretrained=True` and loaders with timm's own transforms.
"""

import sys

import torch
from torch.utils.data import DataLoader, TensorDataset

import autoprune

try:
    import timm
except ImportError as error:
    sys.exit(f"this example needs timm: pip install timm ({error})")

CLASSES = 4


def images(count: int, size: int, seed: int) -> TensorDataset:
    """Noise with one bright corner; the label says which."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    pixels = torch.randn(count, 3, size, size, generator=generator) * 0.6
    half = size // 2
    for corner in range(CLASSES):
        top, left = half * (corner // 2), half * (corner % 2)
        pixels[labels == corner, :, top : top + half, left : left + half] += 0.7
    return TensorDataset(pixels, labels)


def main() -> None:
    """Train, look, search, fine-tune."""
    name = sys.argv[1] if len(sys.argv) > 1 else "test_efficientnet.r160_in1k"
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 48
    torch.manual_seed(0)
    data = autoprune.DataSplits(
        train=DataLoader(images(256, size, 0), 32, shuffle=True),
        search_val=DataLoader(images(128, size, 1), 64),
        test=DataLoader(images(128, size, 2), 64),
    )
    model = timm.create_model(name, pretrained=False, num_classes=CLASSES)
    autoprune.finetune(model, data.train, epochs=6, lr=0.05)  # your trained network instead
    print(f"{name}: {autoprune.accuracy(model, data.test):.1%} of the test images are right")

    example = torch.zeros(1, 3, size, size)
    print(autoprune.trace(model, example))  # what can be pruned, and why the rest cannot

    result = autoprune.search(model, example, data, "macs=60%", agent="surrogate", episodes=10)
    print(result.summary())
    autoprune.finetune(result.model, data.train, epochs=2)
    print(f"pruned and fine-tuned: {autoprune.accuracy(result.model, data.test):.1%}")


if __name__ == "__main__":
    main()
