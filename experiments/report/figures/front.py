"""Figure of the Pareto front: accuracy against a cost of the network."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from shiftsearch.experiments.report.figures.style import (
    AFTER,
    BEFORE,
    INK,
    grid,
    legend_above,
    new_figure,
    scatter,
    to_svg,
)
from shiftsearch.experiments.wording import counted
from shiftsearch.search.study.goals import COSTS
from shiftsearch.search.study.records import TrialRecord


def cost_against_accuracy(
    trials: Sequence[TrialRecord], numbers: Collection[int], cost: str, winner: int
) -> str:
    """All complete trials with a known cost; those on the front are joined.

    Args:
        trials: the study's trials.
        numbers: numbers of the trials on the front.
        cost: name of the cost; its axis is logarithmic.
        winner: number of the winning trial, which gets a ring.
    """
    figure, axes = new_figure(6.6, 3.4)
    shown = [t for t in trials if t.value is not None and cost in t.costs]
    places = {t.number: (t.costs[cost], 100 * (t.value or 0.0)) for t in shown}
    front = sorted(places[n] for n in numbers if n in places)
    others = [t.number for t in shown if t.number not in numbers]
    reference = [t.number for t in shown if t.role == "reference"]
    if front:
        axes.step(*zip(*front, strict=True), where="post", color=INK, lw=1, label="_front")
    scatter(axes, [places[n] for n in others], "o", 5, AFTER, "dominated", ring=True)
    scatter(axes, front, "o", 6, AFTER, "Pareto front")
    scatter(axes, [places[n] for n in reference], "D", 7, BEFORE, "reference")
    won = [places[winner]] if winner in places else []
    scatter(axes, won, "o", 13, INK, "winner", ring=True)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: _number(cost)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(COSTS[cost])
    axes.set_ylabel("TEST2, %\n(selection part)")
    grid(axes, "y")
    legend_above(axes, 4)
    points = "; ".join(f"{x:,} {COSTS[cost]}, {y:.2f} %" for x, y in front)
    alt = (
        f"TEST2 against {COSTS[cost]} of {counted(len(shown), 'trial')}; "
        f"{counted(len(front), 'trial')} on the Pareto front: {points}."
    )
    return to_svg(figure, alt)


def _number(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 1 else f"{cost:g}"
