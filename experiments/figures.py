"""Figures of the report as inline SVG, for light and dark pages alike.

Colours are those of the page: matplotlib draws with stand-ins, which are then replaced by CSS
variables (`report.html.j2` sets them), and the text stays text in the page's own font. Series
differ in shape as well as in colour; the colours are told apart by colour-blind readers.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from experiments.wording import interval, percent
from search.records import TrialRecord

INK, BEFORE, AFTER, ON_CELL, MARK = "#010101", "#010102", "#010103", "#010104", "#010105"
_COLOURS = {
    INK: "currentColor",
    BEFORE: "var(--before, #b35c00)",
    AFTER: "var(--after, #0b5394)",
    ON_CELL: "var(--on-cell, #ffffff)",
    MARK: "var(--mark, #8a2d5c)",
}
_COUNTED = 30
"""Classes up to which a confusion matrix shows its counts; above, a count has no room."""


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> str:
    """Heat map of [classes][classes] counts; row: true class, shaded by its share of the row.

    Args:
        counts: of images.
        classes: their names.
        title: what was classified by what, for the text alternative.
    """
    size = len(classes)
    side = min(7.0, 1.1 + 0.36 * size)
    figure, axes = _figure(side, side)
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            if count == 0:
                continue
            share = count / sum(line)
            axes.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, color=AFTER, alpha=share, linewidth=0)
            )
            if size <= _COUNTED:
                axes.text(
                    column,
                    row,
                    f"{count}",
                    ha="center",
                    va="center",
                    size=9 if size <= 12 else 6,
                    color=ON_CELL if share > 0.7 else INK,
                )
    axes.spines[:].set(visible=True, color=INK, alpha=0.25)
    # Every n-th class, so that names of many classes do not lie on each other.
    shown = range(0, size, 1 + size // _COUNTED)
    names = [classes[i].replace("$", r"\$") for i in shown]  # a pair of $ would be mathematics
    axes.set_xticks(shown, names, rotation=90 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(shown, names)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.tick_params(length=0)
    return _svg(figure, f"{title}: {_confusion_in_words(counts, classes)}")


def search_history(trials: Sequence[TrialRecord], winner: int) -> str:
    """Accuracy of every trial against its number, the best so far, and what has no accuracy.

    Args:
        trials: by number.
        winner: the number of the trial to be ringed.
    """
    figure, axes = _figure(7.2, 3.4)
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
        _scatter(axes, found, marker, size, colour, role)
    _scatter(axes, [(n, v) for n, v, _ in ended if n == winner], "o", 13, INK, "winner", ring=True)
    floor = min((v for _, v, _ in ended), default=0.0)
    below = floor - 0.08 * max(5.0, best - floor)
    for state, marker, label in (
        ("fail", "x", "failed, no accuracy"),
        ("pruned", "|", "pruned at a rung"),
    ):
        found = [(t.number, below) for t in trials if t.state == state]
        _scatter(axes, found, marker, 7, MARK, label)
    axes.set_xlabel("trial")
    axes.set_ylabel("TEST2 accuracy, %\n(selection part)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _grid(axes, "y")
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=4,
        frameon=False,
        labelcolor=INK,
        fontsize=9,
        handletextpad=0.3,
        columnspacing=1.2,
    )
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
    return _svg(figure, alt)


def accuracy_intervals(rows: Sequence[Mapping[str, Any]]) -> str:
    """Accuracies before and after fine-tuning with their intervals.

    Args:
        rows: of `result.json`'s table.
    """
    lines = list(dict.fromkeys((r["configuration"], r["split"], r["part"]) for r in rows))
    figure, axes = _figure(7.2, 0.9 + 0.42 * len(lines))
    for stage, marker, colour, shift in (
        ("before", "o", BEFORE, -0.12),
        ("after", "D", AFTER, 0.12),
    ):
        found = [r for r in rows if r["stage"] == stage]
        places = [lines.index((r["configuration"], r["split"], r["part"])) for r in found]
        values = [100 * r["accuracy"] for r in found]
        below = [v - 100 * r["interval"][0] for v, r in zip(values, found, strict=True)]
        above = [100 * r["interval"][1] - v for v, r in zip(values, found, strict=True)]
        axes.errorbar(
            values,
            [place + shift for place in places],
            xerr=[below, above],
            fmt=marker,
            color=colour,
            markersize=6,
            capsize=3,
            label=f"{stage} fine-tuning",
        )
    names = [f"{c}: {s}" + ("" if p == "all" else f", {p}") for c, s, p in lines]
    axes.set_yticks(range(len(lines)), names)
    axes.set(xlim=(0, 101), ylim=(len(lines) - 0.5, -0.5))
    axes.set_xlabel("accuracy, %")
    axes.tick_params(axis="y", length=0)
    _grid(axes, "x")
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=2,
        frameon=False,
        labelcolor=INK,
        fontsize=9,
    )
    words = [
        f"{r['configuration']}, {r['split']} {r['part']}, {r['stage']} fine-tuning: "
        f"{percent(r['accuracy'])} {interval(r['interval'])}"
        for r in rows
    ]
    return _svg(figure, "Accuracies with 95 % intervals. " + "; ".join(words) + ".")


def _confusion_in_words(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    right = sum(line[i] for i, line in enumerate(counts))
    words = f"{right} of {sum(map(sum, counts))} images are on the diagonal."
    mistakes = [
        (count, -i, -j)
        for i, line in enumerate(counts)
        for j, count in enumerate(line)
        if i != j and count
    ]
    if mistakes:
        count, i, j = max(mistakes)
        words += f" Most frequent mistake: {classes[-i]} taken for {classes[-j]}, {count} times."
    return words


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Inches; one axes without a frame, everything in the page's ink."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set(color=INK, size=9)
    axes.yaxis.label.set(color=INK, size=9)
    return figure, axes


def _grid(axes: Axes, axis: str) -> None:
    axes.grid(visible=True, axis=axis, color=INK, alpha=0.15, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def _scatter(
    axes: Axes,
    places: Sequence[tuple[float, float]],
    marker: str,
    size: float,
    colour: str,
    label: str,
    *,
    ring: bool = False,
) -> None:
    if places:
        axes.plot(
            *zip(*places, strict=True),
            linestyle="none",
            marker=marker,
            markersize=size,
            color=colour,
            markerfacecolor="none" if ring else colour,
            label=label,
        )


def _svg(figure: Figure, alt: str) -> str:
    """Scaled down by a narrow page, with `alt` as its text alternative."""
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    # The salt makes ids repeatable, and different in every figure of a page.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": alt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    _, _, text = buffer.getvalue().partition("<svg ")
    _, _, text = text.partition(">")  # its attributes, replaced below
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # named alike in every figure
    text = re.sub(r"font-family: [^;]*; ", "", text)
    for stand_in, colour in _COLOURS.items():
        text = text.replace(stand_in, colour)
    width, height = 72 * figure.get_size_inches()
    return (
        f'<svg role="img" aria-label="{escape(alt)}" viewBox="0 0 {width:g} {height:g}" '
        f'style="max-width: {width:g}pt">{text}'
    )
