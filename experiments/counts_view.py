"""How the contents of a dataset are shown in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from shiftsearch.data.check import Report


def say_counts(console: Console, found: Report) -> None:
    """Print the images of each split and class, their kind, and weights."""
    table = Table("split", *found.classes, "all", title="images per class")
    for split, counts in found.counts.items():
        table.add_row(split, *map(str, counts), str(sum(counts)))
    console.print(table)
    console.print(found.summary)
    for split, (low, high, effective) in found.weights.items():
        console.print(
            f"{split}: weights from {low:.3g} to {high:.3g} times their mean; they tell as much"
            f" as {effective:.0f} of {sum(found.counts[split])} images of equal weight"
        )
