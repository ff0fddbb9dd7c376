"""Training that is just enough for pruned networks, and the accuracy it is measured by."""

from autoprune.train.distill import Distillation, soft_divergence
from autoprune.train.evaluate import accuracy, inference
from autoprune.train.session import Session
from autoprune.train.trainer import Trainer, finetune, sgd

__all__ = [
    "Distillation",
    "Session",
    "Trainer",
    "accuracy",
    "finetune",
    "inference",
    "sgd",
    "soft_divergence",
]
