"""What the demo tells a newcomer: what was compared, what was found layer by layer, and how to go on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from autoprune.cli.compare import Contender, Row
from autoprune.cli.report import table

INTRODUCTION = """
A residual CNN was trained on {train} of scikit-learn's handwritten digits, then pruned to the hard budget
{budget}. uniform keeps the same share of every layer; greedy follows the layers' error curves; found is
what the DDPG agent chose in {episodes} episodes. All three get the same treatment: channels ordered by one
criterion, remaining weights re-fitted in closed form. Test accuracy is on {test} digits that nothing saw
before this table (one digit is {one:.1f} points)."""

ENDING = """
How to use the result in Python:

    import autoprune
    from autoprune.demo import DigitsNet, splits

    small = autoprune.load({path!r}, DigitsNet())
    print(autoprune.accuracy(small, splits().test))

{folder} holds: dense.safetensors (the trained network), search (the run: history, Optuna study, plan), and
found (plan and fine-tuned weights). Next, with a network of your own: autoprune search --help"""


def demo_report(
    folder: Path, networks: Sequence[Contender], rows: Sequence[Row], finetuned: int, facts: dict[str, object]
) -> list[Any]:
    """The comparison, the widths and the next step, to print.

    Args:
        folder: Where the artefacts lie.
        networks: Dense first, what was found last.
        rows: Of the same networks.
        finetuned: Epochs of the fine-tuning.
        facts: What the introduction names: budget, episodes, number of train and test images.
    """
    ending = ENDING.format(path=str(folder / "found"), folder=folder)
    return [INTRODUCTION.format(**facts), table(rows, finetuned), width_table(networks), ending]


def width_table(networks: Sequence[Contender], bar: int = 16) -> Table:
    """Channels that stay, group by group; the bar shows what was found."""
    drawn = Table(title="Channels that stay, by group (named after the layer that makes them)")
    drawn.add_column("group")
    for network in networks:
        drawn.add_column(network.name, justify="right")
    drawn.add_column("kept")
    dense, found = networks[0].measured.widths, networks[-1].measured.widths
    for name, size in dense.items():
        full = round(bar * found[name] / size)
        counts = [str(network.measured.widths[name]) for network in networks]
        drawn.add_row(Text(name), *counts, "█" * full + "░" * (bar - full))
    return drawn
