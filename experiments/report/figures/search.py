"""Figures of the search: the accuracy and the time of every trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from shiftsearch.experiments.report.figures.style import (
    AFTER,
    BEFORE,
    INK,
    MARK,
    PAPER,
    grid,
    legend_above,
    new_figure,
    scatter,
    to_svg,
)
from shiftsearch.experiments.wording import counted, duration
from shiftsearch.search.study.records import TrialRecord, objective_of

MAX_BARS = 400
"""The largest number of trials that have a bar each."""


def search_history(trials: Sequence[TrialRecord], winner: int) -> str:
    """Objective of every trial against its number, the best so far, and trials without one.

    Args:
        trials: by number.
        winner: number of the winning trial, which gets a ring.
    """
    figure, axes = new_figure(6.6, 3.4)
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
        ("failed", "x", "failed, no accuracy"),
        ("pruned", "|", "stopped early"),
    ):
        found = [(t.number, below) for t in trials if t.state == state]
        scatter(axes, found, marker, 7, MARK, label)
    axes.set_xlabel("trial")
    title = objective_of(trials).title
    axes.set_ylabel(f"TEST2 {title}, %\n(selection part)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    grid(axes, "y")
    legend_above(axes, 3)
    shared = sum(role == branch for *_, role in ended)
    pruned = sum(t.state == "pruned" for t in trials)
    alt = (
        f"Search history: TEST2 {title} of {counted(len(ended), 'trial')}, from {floor:.2f} % to "
        f"{best:.2f} %; "
        + (f"{shared} of them on a shared baseline; " if shared else "")
        + f"{counted(len(trials) - len(ended), 'trial')} without one"
        + (f", {pruned} of them stopped early" if pruned else "")
        + f"; the winner is {winner}."
    )
    return to_svg(figure, alt)


def time_used(trials: Sequence[TrialRecord]) -> str:
    """Training time of every trial, baseline and fine-tune stacked; a shared baseline counts once.

    For a trial that is not complete the times of its stages are unknown. Its bar is hollow and
    shows the time from its start to its end.

    Args:
        trials: by number.
    """
    figure, axes = new_figure(6.6, 2.9)
    complete = [t for t in trials if t.result is not None]
    own = [t for t in complete if t.branch_of is None]
    taken = [t for t in complete if t.branch_of is not None]
    lost = [t for t in trials if t.state in ("failed", "pruned") and t.seconds is not None]
    baselines = {t.number: t.result.baseline.seconds for t in own if t.result}
    fine_tunes = {t.number: t.result.fine_tune.seconds for t in complete if t.result}
    _bars(axes, baselines, {}, color=BEFORE, label="baseline")
    style = {"hatch": "////", "edgecolor": PAPER, "linewidth": 0}
    _bars(axes, fine_tunes, baselines, color=AFTER, label="fine-tune", **style)
    if lost:
        style = {"fc": "none", "edgecolor": MARK, "linestyle": "--"}
        known = {t.number: t.seconds or 0.0 for t in lost}
        _bars(axes, known, {}, label="no result: time from start to end", **style)
    # Above the bars: on the hatching they could not be seen.
    above = 0.04 * max([baselines.get(n, 0.0) + s for n, s in fine_tunes.items()], default=0.0)
    scatter(
        axes,
        [(t.number, fine_tunes[t.number] + above) for t in taken],
        "^",
        4,
        INK,
        "uses another trial's baseline",
    )
    axes.set_xlabel("trial")
    axes.set_ylabel("seconds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    grid(axes, "y")
    legend_above(axes, 2)
    alt = (
        f"Time used: {duration(sum(baselines.values()))} for {counted(len(own), 'baseline')} and "
        f"{duration(sum(fine_tunes.values()))} for {counted(len(complete), 'fine-tune')}, "
        f"{len(taken)} of them from another trial's baseline; "
        f"{counted(len(lost), 'trial')} without a result."
    )
    return to_svg(figure, alt)


def _bars(
    axes: Axes, heights: Mapping[int, float], bottoms: Mapping[int, float], **style: Any
) -> None:
    """A bar for each trial; an outline of all bars if they are many, which is drawn faster.

    Args:
        axes: of the figure.
        heights: by the trial's number.
        bottoms: where bars begin, by the trial's number; 0 if it is not given.
        **style: of Matplotlib's patches.
    """
    if len(heights) <= MAX_BARS:
        below = [bottoms.get(number, 0.0) for number in heights]
        axes.bar(list(heights), list(heights.values()), bottom=below, **style)
        return
    places = list(range(min(heights), max(heights) + 1))
    low = np.array([bottoms.get(n, 0.0) if n in heights else 0.0 for n in places])
    high = low + [heights.get(n, 0.0) for n in places]
    axes.fill_between(places, low, high, step="mid", **style)
