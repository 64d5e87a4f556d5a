"""Figures of the search: what every trial reached, and where the time went."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from experiments.figures.style import (
    AFTER,
    BEFORE,
    INK,
    MARK,
    grid,
    legend_above,
    new_figure,
    scatter,
    to_svg,
)
from search.records import TrialRecord


def search_history(trials: Sequence[TrialRecord], winner: int) -> str:
    """Accuracy of every trial against its number, the best so far, and what has no accuracy.

    Args:
        trials: by number.
        winner: the number of the trial to be ringed.
    """
    figure, axes = new_figure(7.2, 3.4)
    branch = "sampled, shared baseline"
    ended = [
        (t.number, 100 * t.value, branch if t.branch_of is not None else t.role)
        for t in trials
        if t.value is not None
    ]
    best, steps = 0.0, []
    for _, value, _ in ended:
        best = max(best, value)
        steps.append(best)
    axes.step([n for n, *_ in ended], steps, where="post", color=INK, lw=1, label="best so far")
    for role, marker, size, colour in (
        ("sampled", "o", 5.5, AFTER),
        (branch, "^", 5.5, AFTER),
        ("point", "s", 6, AFTER),
        ("reference", "D", 7, BEFORE),
    ):
        found = [(n, v) for n, v, r in ended if r == role]
        scatter(axes, found, marker, size, colour, role)
    scatter(axes, [(n, v) for n, v, _ in ended if n == winner], "o", 13, INK, "winner", ring=True)
    floor = min((v for _, v, _ in ended), default=0.0)
    below = floor - 0.08 * max(5.0, best - floor)
    for state, marker, label in (
        ("fail", "x", "failed, no accuracy"),
        ("pruned", "|", "pruned at a rung"),
    ):
        found = [(t.number, below) for t in trials if t.state == state]
        scatter(axes, found, marker, 7, MARK, label)
    axes.set_xlabel("trial")
    axes.set_ylabel("TEST2 accuracy, %\n(selection part)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    grid(axes, "y")
    legend_above(axes, 4)
    shared = sum(role == branch for *_, role in ended)
    pruned = sum(t.state == "pruned" for t in trials)
    alt = (
        f"Search history: TEST2 accuracy of {len(ended)} trials, from {floor:.2f} % to "
        f"{best:.2f} %; "
        + (f"{shared} of them on a shared baseline; " if shared else "")
        + f"{len(trials) - len(ended)} trials without one"
        + (f", {pruned} of them pruned at a rung" if pruned else "")
        + f"; the winner is {winner}."
    )
    return to_svg(figure, alt)
