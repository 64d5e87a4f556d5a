"""The figure of the change of each class by fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

from shiftsearch.experiments.outcome.statistics import wilson
from shiftsearch.experiments.report.figures.style import (
    AFTER,
    BEFORE,
    INK,
    grid,
    legend_above,
    new_figure,
    plain,
    scatter,
    to_svg,
)
from shiftsearch.experiments.wording import counted


def class_changes(
    before: Sequence[Sequence[int]],
    after: Sequence[Sequence[int]],
    classes: Sequence[str],
    title: str,
) -> str:
    """Accuracy of each class before and after, joined by a line, with 95 % intervals.

    Args:
        before: confusion matrix, [classes][classes] counts of images; rows are true classes.
        after: confusion matrix of the same images after fine-tuning.
        classes: names of the classes.
        title: names the model and the images in the text alternative.
    """
    counts = [sum(row) for row in before]
    shown = [i for i, n in enumerate(counts) if n]
    figure, axes = new_figure(4.9, 1.0 + 0.3 * len(shown))
    words = []
    for place, i in enumerate(shown):
        low, high = before[i][i] / counts[i], after[i][i] / counts[i]
        axes.plot([100 * low, 100 * high], [place, place], color=INK, lw=1.2, zorder=1)
        words.append(
            f"{classes[i]} {100 * low:.1f} to {100 * high:.1f} of {counted(counts[i], 'image')}"
        )
    for matrix, marker, colour, label, shift in (
        (before, "o", BEFORE, "before", -0.18),
        (after, "D", AFTER, "after", 0.18),
    ):
        fractions = [matrix[i][i] / counts[i] for i in shown]
        for place, (fraction, i) in enumerate(zip(fractions, shown, strict=True)):
            bounds = [100 * b for b in wilson(fraction, counts[i])]
            axes.plot(bounds, [place + shift] * 2, color=colour, lw=1.2, alpha=0.7, zorder=1)
        places = [(100 * fraction, place) for place, fraction in enumerate(fractions)]
        scatter(axes, places, marker, 6.5, colour, f"{label} fine-tuning")
    names = [f"{plain(classes[i])} (n = {counts[i]})" for i in shown]
    axes.set_yticks(range(len(shown)), names)
    axes.set(xlim=(-2, 102), ylim=(len(shown) - 0.5, -0.5))
    axes.set_xlabel("accuracy, %")
    axes.tick_params(axis="y", length=0)
    grid(axes, "x")
    legend_above(axes, 2)
    return to_svg(figure, f"{title}, accuracy in % by class: {'; '.join(words)}.")
