"""What a network is worth at the end of a search, and what the search takes for it meanwhile."""

from torch import nn

from autoprune.allocation import uniform
from autoprune.candidate import CandidateEvaluator
from autoprune.data import FirstImages
from autoprune.errors import ArgumentError
from autoprune.graph import PruneGraph
from autoprune.run.config import Settings
from autoprune.score import KL, Accuracy, Raced, Score, SearchImages
from autoprune.task import Task

RACED = ("kl", "accuracy")
"""The rewards under which a candidate that scores worse than another is worth less."""


def check_racing(racing: bool, reward: object, max_drop: float | None) -> None:
    """Refuse races under a reward that also looks at costs: it may like what scores worse.

    Raises:
        ArgumentError: As said.
    """
    if racing and (reward not in RACED or max_drop is not None):
        given = reward if max_drop is None else f"max_drop={max_drop:g}"
        raise ArgumentError(f"racing must be off unless the reward is kl or accuracy, got {given!r}")


def scores_of(
    graph: PruneGraph, model: nn.Module, images: FirstImages, settings: Settings
) -> tuple[Score, Score]:
    """What a network is worth on all images as it is, and the score of candidates; the same one by default.

    Raises:
        ArgumentError: A precision that the network cannot run in.
        DataError: As `SearchImages`.
        ModelError: As `SearchImages`.
    """
    whole = SearchImages(model, images, shuffle=settings.seed if settings.racing else None)
    score = _score(settings.reward, whole)
    searched = score
    if settings.precision != whole.precision:
        searched = _score(settings.reward, whole.at(model, settings.precision))
    if settings.racing:
        cut = graph.form == "class" or graph.rewriter is None or graph.rewriter.any_batch
        searched = Raced(searched, cut=cut)
    return score, searched


def set_reference(searched: Score, evaluator: CandidateEvaluator, task: Task) -> None:
    """Have candidates raced against the uniform allocation, where they are raced."""
    if isinstance(searched, Raced):
        evaluator.evaluate(task.widths(uniform(task)), score=searched.refer_to)


def _score(reward: str, images: SearchImages) -> Score:
    return Accuracy(images) if reward in ("accuracy", "accuracy_guaranteed") else KL(images)
