"""Prune whole attention heads and MLP channels of a Hugging Face transformer.

    python examples/huggingface.py

A small BERT classifies generated sequences. The groups of a transformer are heads (queries, keys, values and
output projection together) and hidden widths of the MLPs; the residual stream stays whole.
"""

import sys

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import autoprune

try:
    from transformers import BertConfig, BertForSequenceClassification
except ImportError as error:
    sys.exit(f"this example needs transformers: pip install transformers ({error})")

WORDS, LENGTH, CLASSES = 64, 16, 4


class Scores(nn.Module):
    """The network as autoprune takes it: tensors in, class scores out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, words: Tensor) -> Tensor:
        """Words of shape (N, LENGTH) to scores of shape (N, CLASSES)."""
        scores: Tensor = self.network(input_ids=words, attention_mask=torch.ones_like(words)).logits
        return scores


def sequences(count: int, seed: int) -> TensorDataset:
    """Random words; the class is the quarter of the vocabulary that most of them come from."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    words = torch.randint(WORDS, (count, LENGTH), generator=generator)
    quarter = WORDS // CLASSES
    typical = labels[:, None] * quarter + words % quarter
    chosen = torch.rand(count, LENGTH, generator=generator) < 0.4
    return TensorDataset(torch.where(chosen, typical, words), labels)


def main() -> None:
    """Train, search, show the heads that stay."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=WORDS, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=128, max_position_embeddings=LENGTH, num_labels=CLASSES,
    )  # fmt: skip
    model = Scores(BertForSequenceClassification(config))
    data = autoprune.DataSplits(
        train=DataLoader(sequences(1024, 0), 32, shuffle=True),
        search_val=DataLoader(sequences(256, 1), 64),
        test=DataLoader(sequences(512, 2), 64),
    )
    autoprune.finetune(model, data.train, epochs=6, lr=0.02)  # your trained network instead
    print(f"dense: {autoprune.accuracy(model, data.test):.1%} of the test sequences are right")

    example = torch.zeros(1, LENGTH, dtype=torch.int64)
    result = autoprune.search(model, example, data, "params=60%", agent="surrogate", episodes=12)
    print(result.summary())
    for name, width in result.plan.widths.items():
        print(f"{name}: {width} of {result.dense.widths.get(name, width)}")
    autoprune.finetune(result.model, data.train, epochs=2, lr=0.01)
    print(f"pruned and fine-tuned: {autoprune.accuracy(result.model, data.test):.1%}")


if __name__ == "__main__":
    main()
