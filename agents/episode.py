"""What one episode gave."""

from dataclasses import dataclass

from autoprune.score.evaluation import Evaluation


@dataclass(frozen=True)
class Episode:
    """One finished episode: one candidate and what it is worth.

    Attributes:
        number: Counts the episodes of an agent, from 0.
        widths: Units that stay, by group name.
        reward: What the environment paid in total; higher is better.
        evaluation: The evaluation of the candidate.
        costs: All known costs of the candidate by name.
        seconds: Wall time, the agent's own learning included.
    """

    number: int
    widths: dict[str, int]
    reward: float
    evaluation: Evaluation
    costs: dict[str, float]
    seconds: float
