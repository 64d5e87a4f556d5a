"""The figure of several runs: accuracies of winner and reference with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

from shiftsearch.experiments.outcome.comparison import Compared
from shiftsearch.experiments.report.figures.style import (
    AFTER,
    BEFORE,
    grid,
    legend_above,
    new_figure,
    plain,
    to_svg,
)
from shiftsearch.experiments.wording import interval, percent

_SERIES = (("reference", "o", BEFORE, -0.12), ("winner", "D", AFTER, 0.12))


def run_intervals(runs: Sequence[Compared]) -> str:
    """Accuracy on TEST2 after fine-tuning, with its 95 % interval over images; one line a run.

    Args:
        runs: at least one of them with a result.
    """
    figure, axes = new_figure(6.2, 0.9 + 0.42 * len(runs))
    words = []
    for name, marker, colour, shift in _SERIES:
        found = [(i, final) for i, run in enumerate(runs) if (final := run.final(name))]
        values = [100 * final["accuracy"] for _, final in found]
        bounds = [[100 * bound for bound in final["interval"]] for _, final in found]
        axes.errorbar(
            values,
            [i + shift for i, _ in found],
            xerr=[
                [max(0.0, v - low) for v, (low, _) in zip(values, bounds, strict=True)],
                [max(0.0, high - v) for v, (_, high) in zip(values, bounds, strict=True)],
            ],
            fmt=marker,
            color=colour,
            markersize=6,
            capsize=3,
            label=name,
        )
        words += [
            f"{runs[i].label}, {name}: {percent(final['accuracy'])} {interval(final['interval'])} "
            f"({final['label']})"
            for i, final in found
        ]
    axes.set_yticks(range(len(runs)), [plain(run.label) for run in runs])
    axes.set(ylim=(len(runs) - 0.5, -0.5))
    axes.set_xlabel("accuracy on TEST2 after fine-tuning, %")
    axes.tick_params(axis="y", length=0)
    grid(axes, "x")
    legend_above(axes, 2)
    return to_svg(figure, f"Accuracies of the runs with 95 % intervals. {'; '.join(words)}.")
