"""Figures of the search: the accuracy and the time of every trial."""

from __future__ import annotations

from collections.abc import Sequence

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
    axes.bar(list(baselines), list(baselines.values()), color=BEFORE, label="baseline")
    axes.bar(
        list(fine_tunes),
        list(fine_tunes.values()),
        bottom=[baselines.get(n, 0.0) for n in fine_tunes],
        color=AFTER,
        hatch="////",
        edgecolor=PAPER,
        linewidth=0,
        label="fine-tune",
    )
    if lost:
        axes.bar(
            [t.number for t in lost],
            [t.seconds or 0.0 for t in lost],
            fill=False,
            edgecolor=MARK,
            linestyle="--",
            label="no result: time from start to end",
        )
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
