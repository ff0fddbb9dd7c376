"""Training that is just enough for pruned networks, and the accuracy it is measured by."""

from autoprune.graph.export import device_of
from autoprune.train.distill import Distillation, soft_divergence
from autoprune.train.evaluate import accuracy, inference
from autoprune.train.session import Session
from autoprune.train.trainer import Trainer, finetune, sgd

__all__ = [
    "Distillation",
    "Session",
    "Trainer",
    "accuracy",
    "device_of",
    "finetune",
    "inference",
    "sgd",
    "soft_divergence",
]
