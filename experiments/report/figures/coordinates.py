"""Parallel coordinates: each trial is a line over its hyperparameters and objective."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from shiftsearch.experiments.report.figures.scales import best_quarter, scale_of, value_range
from shiftsearch.experiments.report.figures.style import (
    AFTER,
    BEFORE,
    INK,
    PAPER,
    new_figure,
    to_svg,
)
from shiftsearch.experiments.report.figures.thinning import some_of, thinned
from shiftsearch.experiments.wording import counted, percent
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord, objective_of

MAX_COORDINATES = 10
"""Largest number of hyperparameters that fit, besides the objective."""

_STYLES: dict[str, dict[str, Any]] = {
    "winner": {"color": INK, "lw": 2.4, "marker": "o", "markersize": 5, "zorder": 5},
    "reference": {"color": BEFORE, "lw": 1.8, "ls": "--", "marker": "D", "zorder": 4},
    "best": {"color": AFTER, "lw": 1.3, "alpha": 0.85, "zorder": 3},
    "other": {"color": INK, "lw": 0.7, "alpha": 0.2, "zorder": 1},
}


def parallel_coordinates(
    trials: Sequence[TrialRecord], space: Space, names: Sequence[str], winner: int
) -> str:
    """The complete trials, `thinned`; the best quarter, the winner and the reference stand out.

    Args:
        trials: the study's trials, at least one of them complete.
        space: the searched space.
        names: searched hyperparameters, most important first; `MAX_COORDINATES` are shown.
        winner: number of the winning trial, which has the thickest line.
    """
    shown = list(names[:MAX_COORDINATES])
    complete = [t for t in trials if t.value is not None]
    scales = [scale_of(name, complete, space) for name in shown]
    top = best_quarter(trials)
    values = [t.value or 0.0 for t in complete]
    low, high = min(values), max(values)
    span, title = (high - low) or 1.0, objective_of(trials).title
    best = {t.number for t in top}
    kinds = {t.number: _kind(t, best, winner) for t in complete}
    drawn = thinned(complete, winner)
    figure, axes = new_figure(max(4.6, 1.0 + 0.82 * (len(shown) + 1)), 4.0)
    for trial in drawn:
        heights = [
            scale.place(trial.configuration.get(name))
            if kinds[trial.number] in ("winner", "reference")
            else scale.spread(trial.configuration.get(name), trial.number)
            for name, scale in zip(shown, scales, strict=True)
        ]
        heights.append(((trial.value or 0.0) - low) / span)
        axes.plot(range(len(heights)), heights, **_STYLES[kinds[trial.number]])
    for place, scale in enumerate(scales):
        for at, text in zip(*scale.ticks(6), strict=True):
            _beside(axes, place, at, text)
    for value in {low, high}:
        _beside(axes, len(shown), (value - low) / span, f"{100 * value:.1f} %")
    for place in range(len(shown) + 1):
        axes.axvline(place, color=INK, alpha=0.4, lw=0.8, zorder=0)
    axes.set_xticks(
        range(len(shown) + 1), [*("\n".join(n.split(".")) for n in shown), f"TEST2\n{title}"]
    )
    axes.set(xlim=(-0.15, len(shown) + 0.6), yticks=[])
    axes.tick_params(axis="x", length=0, labelsize=8)
    _legend(axes, set(kinds.values()), len(top))
    alt = (
        f"Parallel coordinates of {counted(len(complete), 'trial')}{some_of(drawn, complete)} "
        f"over {len(shown)} of "
        f"{len(names)} hyperparameters and TEST2 {title}, {percent(low)} to {percent(high)}. "
        f"The middle half of the best {len(top)} has: "
        + "; ".join(f"{name} {value_range(name, top)}" for name in shown)
        + "."
    )
    return to_svg(figure, alt)


def _kind(trial: TrialRecord, best: Set[int], winner: int) -> str:
    if trial.number == winner:
        return "winner"
    if trial.role == "reference":
        return "reference"
    return "best" if trial.number in best else "other"


def _beside(axes: Axes, place: int, at: float, text: str) -> None:
    """Write a value beside its axis, readable over the lines."""
    cut = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
    axes.text(place + 0.06, at, text, size=8, color=INK, va="center", bbox=cut, zorder=6)


def _legend(axes: Axes, kinds: set[str], best: int) -> None:
    """A legend with an entry for each kind of line that occurs."""
    names = {"best": f"the best {best}", "other": "other trials"}
    handles = [
        Line2D([], [], label=names.get(kind, kind), **style)
        for kind, style in _STYLES.items()
        if kind in kinds
    ]
    axes.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=4,
        frameon=False,
        labelcolor=INK,
        fontsize=9,
    )
