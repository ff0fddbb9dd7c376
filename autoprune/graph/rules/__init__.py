"""The rules, one file per family of ops; importing this package registers them all."""

from autoprune.graph.rules import (
    attention,
    conv,
    cut,
    elementwise,
    linear,
    matmul,
    move,
    norm,
    pool,
    recurrent,
    reduce,
    reparametrize,
    spread,
    view,
)

__all__ = [
    "attention",
    "conv",
    "cut",
    "elementwise",
    "linear",
    "matmul",
    "move",
    "norm",
    "pool",
    "recurrent",
    "reduce",
    "reparametrize",
    "spread",
    "view",
]
