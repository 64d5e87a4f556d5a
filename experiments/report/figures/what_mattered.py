"""Figures of the importance of hyperparameters: importances with intervals, and slices."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shiftsearch.experiments.report.figures.scales import (
    Scale,
    best_quarter,
    number,
    scale_of,
    value_range,
)
from shiftsearch.experiments.report.figures.style import (
    AFTER,
    BEFORE,
    INK,
    MARK,
    PAPER,
    grid,
    new_figure,
    scatter,
    to_svg,
)
from shiftsearch.experiments.report.figures.thinning import some_of, thinned
from shiftsearch.experiments.wording import counted, interval, percent
from shiftsearch.search.judging.importance import Importance
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord, objective_of

_FIRST = ("learning_rate", "dropout", "frozen_layers", "augmentation")
_WIDTH = 9.2
_COLUMNS = 4


def shown_first(space: Space) -> list[str]:
    """The searched hyperparameters: learning rates, dropout, frozen layers, augmentation, rest."""
    names = [name for name, d in space.distributions.items() if not d.single()]

    def kind(name: str) -> int:
        parts = name.split(".")
        return next((i for i, first in enumerate(_FIRST) if first in parts), len(_FIRST))

    return sorted(names, key=kind)


def importance_bars(importance: Importance) -> str:
    """Importance of each hyperparameter with its interval and its limit of chance.

    Importances that stand out are filled diamonds, the others are rings.
    """
    found = importance.parameters
    figure, axes = new_figure(_WIDTH, 1.0 + 0.3 * len(found))
    for place, s in enumerate(found):
        axes.plot([100 * b for b in s.interval], [place] * 2, color=INK, lw=1.2, zorder=1)
    chance = [(100 * s.chance, place) for place, s in enumerate(found)]
    out = [(100 * s.importance, place) for place, s in enumerate(found) if s.stands_out]
    rest = [(100 * s.importance, place) for place, s in enumerate(found) if not s.stands_out]
    scatter(axes, out, "D", 7, AFTER, "importance, stands out")
    if rest:  # filled with paper, so that the interval does not run through the ring
        axes.plot(
            *zip(*rest, strict=True),
            linestyle="none",
            marker="o",
            markersize=6.5,
            color=AFTER,
            markerfacecolor=PAPER,
            label="importance, within chance",
        )
    scatter(axes, chance, "|", 13, MARK, "limit of chance")
    axes.plot([], [], color=INK, lw=1.2, label="95 % interval")
    highest = max(max(s.importance, s.interval[1], s.chance) for s in found)
    axes.set_yticks(range(len(found)), [f"{s.name} (n = {s.independent})" for s in found])
    axes.set(xlim=(-2 * highest, 104 * highest), ylim=(len(found) - 0.5, -0.5))
    axes.set_xlabel("importance for the difference between the better half and all trials, %")
    axes.tick_params(axis="y", length=0)
    grid(axes, "x")
    _legend_of_all(figure)
    words = [
        f"{s.name} {percent(s.importance)} {interval(s.interval)}, "
        f"limit of chance {percent(s.chance)}, n = {s.independent}"
        + (", stands out" if s.stands_out else "")
        for s in found
    ]
    alt = (
        f"Importances of the hyperparameters for the difference between the better "
        f"{importance.best} and all of {counted(importance.trials, 'trial')} of "
        f"{counted(importance.baselines, 'baseline')}, with 95 % intervals: {'; '.join(words)}."
    )
    return to_svg(figure, alt)


def slices(trials: Sequence[TrialRecord], space: Space, names: Sequence[str], winner: int) -> str:
    """Objective of the trials, `thinned`, against each hyperparameter, one small plot for each.

    Trials with the same value are spread a little. Lines are the ends of the domain. Trials that
    do not have the hyperparameter are outside of them.

    Args:
        trials: the study's trials, at least one of them complete.
        space: the searched space.
        names: searched hyperparameters, at least one, in the order of the plots.
        winner: number of the winning trial, which gets a ring.
    """
    complete = [t for t in trials if t.value is not None]
    values = [100 * (t.value or 0.0) for t in complete]
    floor, best = min(values), max(values)
    rows = -(-len(names) // _COLUMNS)
    figure = Figure(
        figsize=(max(5.5, 2.3 * min(_COLUMNS, len(names))), 0.8 + 1.75 * rows),
        layout="constrained",
    )
    margin = 0.08 * max(best - floor, 1.0)
    drawn = thinned(complete, winner)
    failed = thinned([t for t in trials if t.state == "failed" and t.configuration], winner)
    shown = [*drawn, *failed]
    for place, name in enumerate(names):
        axes = figure.add_subplot(rows, min(_COLUMNS, len(names)), place + 1)
        _slice(axes, shown, name, scale_of(name, trials, space), winner, floor - margin)
        axes.set_ylim(floor - 2 * margin, best + margin)
        axes.locator_params(axis="y", nbins=4)
        if place % _COLUMNS:
            axes.set_yticklabels([])
    title = objective_of(trials).title
    figure.supylabel(f"TEST2 {title}, % (selection part)", color=INK, size=9)
    _legend_of_all(figure)
    top = best_quarter(trials)
    chosen = [t for t in complete if t.number == winner]
    words = [
        f"{name} {value_range(name, top)}"
        + "".join(f", the winner {number(t.configuration.get(name))}" for t in chosen)
        for name in names
    ]
    alt = (
        f"TEST2 {title} of {counted(len(complete), 'trial')}{some_of(drawn, complete) or ','} "
        f"{floor:.2f} % to {best:.2f} %, against {len(names)} hyperparameters. "
        f"The middle half of the best {len(top)} has: "
        f"{'; '.join(words)}."
    )
    return to_svg(figure, alt)


def _slice(
    axes: Axes,
    trials: Sequence[TrialRecord],
    name: str,
    scale: Scale,
    winner: int,
    below: float,
) -> None:
    """Draw the plot of one hyperparameter; failed trials are at height `below`."""
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8, length=2)
    for end in (0.0, 1.0):
        axes.axvline(end, color=INK, alpha=0.35, lw=0.8, zorder=0)

    def places(chosen: Sequence[TrialRecord]) -> list[tuple[float, float]]:
        """Positions; exact for winner and reference, the others spread so as not to overlap."""
        return [
            (
                scale.place(t.configuration.get(name))
                if t.number == winner or t.role == "reference"
                else scale.spread(t.configuration.get(name), t.number),
                below if t.value is None else 100 * t.value,
            )
            for t in chosen
        ]

    complete = [t for t in trials if t.value is not None]
    reference = [t for t in complete if t.role == "reference"]
    own = [t for t in complete if t.branch_of is None and t.role != "reference"]
    shared = [t for t in complete if t.branch_of is not None]
    failed = [t for t in trials if t.state == "failed" and t.configuration]
    scatter(axes, places(own), "o", 4.5, AFTER, "own baseline", ring=True)
    scatter(axes, places(shared), "^", 4.5, AFTER, "shared baseline")
    scatter(axes, places(reference), "D", 6, BEFORE, "reference")
    scatter(
        axes,
        places([t for t in complete if t.number == winner]),
        "o",
        12,
        INK,
        "winner",
        ring=True,
    )
    scatter(axes, places(failed), "x", 5, MARK, "failed, no accuracy")
    axes.set_xticks(*scale.ticks(6))
    axes.margins(x=0.06)
    axes.set_title("\n".join(name.split(".", 1)), size=8.5, color=INK, loc="left")
    grid(axes, "y")


def _legend_of_all(figure: Figure) -> None:
    """A legend with one entry for each series in any of the figure's axes."""
    lines = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
    shown = [line for label, line in lines.items() if not label.startswith("_")]
    figure.legend(
        handles=shown,
        loc="outside upper center",
        ncols=len(shown),
        frameon=False,
        labelcolor=INK,
        fontsize=9,
        handletextpad=0.3,
        columnspacing=1.2,
    )
