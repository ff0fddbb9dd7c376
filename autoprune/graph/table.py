"""The table of all ops that have a rule, made from the rules' own docstrings.

python -m autoprune.graph.table docs/operations.md
"""

import inspect
import sys
from pathlib import Path

from autoprune.files import write_text
from autoprune.graph import rules  # noqa: F401  (registers the rules)
from autoprune.graph.registry import Rule, table

_HEAD = """# Operations

Every op of the exported graph that the tracer has a rule for. What an op without a rule reads is locked: it
stays dense, and the group says why. "Passes" means that channels go on behind the op; a channel that is
*locked* is never removed. Exact means: the pruned network computes what the dense one computes with the
removed units zeroed.

`autoprune.graph.register_rule` adds an op of your own, `autoprune.surgery.register_adapter` a module whose
attributes repeat the sizes of its tensors.

## Parts of one dimension

A shuffle, a fused qkv or a `chunk` takes a dimension apart into parts. The model's own forward finds the
same channels again only if all parts stay equally long, and in the same order. So a plain trace ties them: a
unit is one position in every part. Where parts are taken apart again and again, as in the stages of
ShuffleNetV2, this leaves a single unit, and the dimension is locked. (Parts that keep different positions of
the same number would need the widths of several groups to move together, and the layers behind them to read
in another order.)

Where a module's forward cuts at a constant index (`split`, `x[:, :k]`), the dimension is locked, unless the
module is known to take the index from an attribute that the surgery corrects: `register_adapter(...,
cuts="free")` says so of a class of your own, `cuts="equal"` of one that cuts parts of one length (these are
tied as those of a `chunk`). Running the pruned network decides, as always.

A trace for the rewritten graph ties nothing: a shuffle becomes one list of positions (`reorder`), stacked
parts are split first and viewed then, splits are as long as what stays. Every part keeps at least one
channel. A convolution over the channels themselves, as efficient channel attention has it, reads what stays
at the places where it was (`spread`), with zeros in between.

## Attention and residual streams

The units of attention are whole heads: queries, keys, values and output projection together. With
`autoprune.trace(model, inputs, heads=False)` they are one channel of every head: queries with keys, and
values, each a group; the rewritten graph keeps the scale of the dense network. To prune both, prune one and
trace the result for the other. The hidden width of an MLP is a group of its own.

A residual stream that runs through a layer normalization is locked, because removing a channel changes the
statistics of those that stay: no choice of zeros does the same. `trace(..., inexact=True)` leaves such groups
prunable, with a note that begins with "inexact"; `autoprune.verify` then compares the model's own class with
the rewritten graph, or, where the plan has the form "graph", verifies its exact groups.

`autoprune.search` takes `heads`, `inexact` and `form` as well.

## How this page is made

This page is made from the docstrings of the rules: `python -m autoprune.graph.table docs/operations.md`.
"""


def operations() -> str:
    """The page as Markdown: one row per rule, with its ops, what it does and why that is exact."""
    ops: dict[Rule, list[str]] = {}
    for name, rule in table().items():
        if rule.__module__.startswith("autoprune.graph.rules."):
            ops.setdefault(rule, []).append(name.removeprefix("aten::").replace("python::", ""))
    families: dict[str, list[str]] = {}
    for rule, names in ops.items():
        rows = families.setdefault(rule.__module__, [])
        rows.append(f"| {_listed(names)} | {' | '.join(explained(rule))} |")
    parts = [_HEAD]
    for module, rows in sorted(families.items()):
        title = (sys.modules[module].__doc__ or "").split("\n")[0].removesuffix(".")
        parts.append(
            f"\n## {title}\n\n| ops | rule | why |\n|---|---|---|\n" + "\n".join(sorted(rows)) + "\n"
        )
    return "".join(parts)


def explained(rule: Rule) -> tuple[str, str]:
    """What a rule does and why that is exact: the first paragraph of its docstring, and the rest."""
    first, _, rest = inspect.cleandoc(rule.__doc__ or "").partition("\n\n")
    return " ".join(first.split()), " ".join(rest.split())


def _listed(names: list[str]) -> str:
    """Op names; in-place variants are not listed beside the op itself."""
    shown = [f"`{name}`" for name in names if not (name.endswith("_") and name[:-1] in names)]
    return ", ".join(shown)


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), operations())
