"""What an evaluated candidate is worth."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Evaluation:
    """The value of one candidate.

    Attributes:
        score: What a search maximizes; always finite.
        metrics: All that the same outputs yield: `kl` (nats per image, lower is better) always, and
            `accuracy` (share, higher is better) and `loss` (cross-entropy in nats, lower is better) if the
            search images have labels. Where candidates are raced (`autoprune.score.Raced`) also `images`, of
            how many images they are.
    """

    score: float
    metrics: dict[str, float] = field(default_factory=dict)
