"""Pruned networks as files: ONNX, `torch.export` programs, weights with their plan."""

from autoprune.deploy.deployed import Deployed
from autoprune.deploy.export import FORMATS, export_network

__all__ = ["FORMATS", "Deployed", "export_network"]
