"""What predicts the worth of a candidate without evaluating it."""

from autoprune.agents.models.additive import fit_weights
from autoprune.agents.models.losses import losses_of
from autoprune.agents.models.process import ProcessModel

__all__ = ["ProcessModel", "fit_weights", "losses_of"]
