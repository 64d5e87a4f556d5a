"""Figures of accuracies with their intervals, and of confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.patches import Rectangle

from shiftsearch.experiments.outcome.result_rows import TableRow
from shiftsearch.experiments.report.figures.style import (
    AFTER,
    BEFORE,
    CELL,
    INK,
    grid,
    legend_above,
    new_figure,
    plain,
    to_svg,
)
from shiftsearch.experiments.wording import counted, interval, percent

_COUNTED = 30
"""Largest number of classes for which a confusion matrix has room for its counts."""


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> str:
    """A confusion matrix; rows are true classes, cells are shaded by their fraction of the row.

    Args:
        counts: [classes][classes] counts of images.
        classes: names of the classes.
        title: names the model and the images in the text alternative.
    """
    size = len(classes)
    side = min(7.0, 1.1 + 0.36 * size)
    figure, axes = new_figure(side, side)
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            if count == 0:
                continue
            fraction = count / sum(line)
            axes.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, color=CELL, alpha=fraction, linewidth=0)
            )
            if size <= _COUNTED:
                axes.text(
                    column,
                    row,
                    f"{count}",
                    ha="center",
                    va="center",
                    size=9 if size <= 12 else 6,
                    color=INK,
                )
    axes.spines[:].set(visible=True, color=INK, alpha=0.25)
    # Every n-th class, so that the names of many classes do not overlap.
    shown = range(0, size, 1 + (size - 1) // _COUNTED)
    names = [plain(classes[i]) for i in shown]
    axes.set_xticks(shown, names, rotation=90 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(shown, names)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.tick_params(length=0)
    return to_svg(figure, f"{title}: {_confusion_in_words(counts, classes)}")


def accuracy_intervals(rows: Sequence[TableRow]) -> str:
    """Accuracies before and after fine-tuning with their intervals.

    Args:
        rows: rows of the table in `result.json`.
    """
    lines = list(dict.fromkeys((r.configuration, r.images) for r in rows))
    figure, axes = new_figure(5.2, 0.9 + 0.46 * len(lines))
    for stage, marker, colour, shift in (
        ("before", "o", BEFORE, -0.12),
        ("after", "D", AFTER, 0.12),
    ):
        found = [r for r in rows if r.stage == stage]
        places = [lines.index((r.configuration, r.images)) for r in found]
        values = [100 * r.accuracy for r in found]
        # At least 0: a `result.json` of an earlier version may have 1.0 in [.., 1 - 2e-16].
        below = [max(0.0, v - 100 * r.interval[0]) for v, r in zip(values, found, strict=True)]
        above = [max(0.0, 100 * r.interval[1] - v) for v, r in zip(values, found, strict=True)]
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
    axes.set_yticks(range(len(lines)), [f"{c}\n{images}" for c, images in lines])
    axes.set(xlim=(0, 103), ylim=(len(lines) - 0.5, -0.5))
    axes.set_xlabel("accuracy, %")
    axes.tick_params(axis="y", length=0)
    grid(axes, "x")
    legend_above(axes, 2)
    words = [
        f"{r.configuration}, {r.split} {r.part}, {r.stage} fine-tuning: "
        f"{percent(r.accuracy)} {interval(r.interval)}"
        for r in rows
    ]
    return to_svg(figure, "Accuracies with 95 % intervals. " + "; ".join(words) + ".")


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
        times = counted(count, "time")
        words += f" Most frequent mistake: {classes[-i]} predicted as {classes[-j]}, {times}."
    return words
