"""The figure of the shift: histograms of the splits' intensities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from shiftsearch.experiments.analysis.split_summary import SplitSummary
from shiftsearch.experiments.report.figures.style import (
    AFTER,
    BEFORE,
    INK,
    grid,
    legend_above,
    new_figure,
    to_svg,
)

_LINES = ((INK, "-", 1.2), (BEFORE, "--", 1.8), (AFTER, ":", 2.4))


def intensity_histogram(splits: Sequence[SplitSummary]) -> str:
    """Fraction of each split's pixels by intensity, on a logarithmic scale.

    Args:
        splits: TRAIN, TEST, TEST2.
    """
    figure, axes = new_figure(5.4, 2.9)
    lowest, highest = 100.0, 0.0
    for split, (colour, style, width) in zip(splits, _LINES, strict=True):
        edges = np.linspace(0, 1, len(split.histogram) + 1)
        # A logarithmic scale cannot show an empty bin, so the line has a gap there.
        fractions = np.where(split.histogram > 0, 100 * split.histogram, np.nan)
        lowest = min(lowest, float(np.nanmin(fractions)))
        highest = max(highest, float(np.nanmax(fractions)))
        axes.stairs(
            fractions, edges, baseline=None, color=colour, ls=style, lw=width, label=split.name
        )
    axes.set_yscale("log")
    # The axis spans at least one decade, so that it has ticks.
    lowest = min(lowest, 10.0 ** (math.ceil(math.log10(highest)) - 1))
    axes.set(ylim=(0.8 * lowest, 1.25 * max(highest, 10 * lowest)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.set(xlim=(0, 1))
    axes.set_xlabel("intensity, 0 black to 1 white")
    axes.set_ylabel("pixels, %")
    grid(axes, "y")
    legend_above(axes, len(splits))
    words = "; ".join(f"{s.name} mean {s.mean:.3f}, sd {s.sd:.3f}" for s in splits)
    return to_svg(figure, f"Intensity histogram of each split, fractions of all pixels. {words}.")
