"""The figure of the learning curves of winner and reference."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from shiftsearch.experiments.analysis.learning import Curves, LearningCurve
from shiftsearch.experiments.report.figures.style import (
    AFTER,
    BEFORE,
    INK,
    add_axes,
    grid,
    scatter,
    to_svg,
)
from shiftsearch.experiments.wording import percent
from shiftsearch.model.result import STAGES

_COLOURS = {"winner": (AFTER, "o"), "reference": (BEFORE, "D")}
_TITLES = {
    "baseline": "baseline, validated on TEST",
    "fine_tune": "fine-tune, validated on TEST2's selection part",
}
_ROWS = (("loss", 1.0, "loss, nats"), ("accuracy", 100.0, "accuracy, %"))


def learning_curves(curves: Curves) -> str:
    """Loss and accuracy of each epoch in both stages: validation solid, training dashed.

    A marker is at the epoch whose weights were kept.

    Args:
        curves: at least one.
    """
    figure = Figure(figsize=(7.4, 4.6), layout="constrained")
    for row, (measure, factor, label) in enumerate(_ROWS):
        for column, stage in enumerate(STAGES):
            axes = add_axes(figure, 2, 2, 2 * row + column + 1)
            for title, stages in curves.items():
                if stage in stages:
                    _draw(axes, stages[stage], measure, factor, title)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            grid(axes, "y")
            if row == 0:
                axes.set_title(_TITLES[stage], size=9, color=INK, loc="left")
            else:
                axes.set_xlabel("epoch")
            if column == 0:
                axes.set_ylabel(label)
    _legend(figure, list(curves))
    words = [
        f"{title}, {stage.replace('_', '-')}: {len(curve.rows)} epochs, the best is "
        f"{curve.best_epoch} with validation loss {best['validation_loss']:.3f} and accuracy "
        f"{percent(best['validation_accuracy'])}"
        for title, stages in curves.items()
        for stage, curve in stages.items()
        for best in [curve.rows[curve.best_epoch - 1]]
    ]
    return to_svg(figure, f"Learning curves. {'; '.join(words)}.")


def _draw(axes: Axes, curve: LearningCurve, measure: str, factor: float, title: str) -> None:
    colour, marker = _COLOURS[title]
    epochs = [row["epoch"] for row in curve.rows]
    for kind, style in (("validation", "-"), ("train", "--")):
        name = f"{kind}_{measure}"
        if all(name in row for row in curve.rows):  # not in the first versions
            values = [factor * row[name] for row in curve.rows]
            axes.plot(epochs, values, color=colour, ls=style, lw=1.5)
    best = curve.rows[curve.best_epoch - 1]
    place = (best["epoch"], factor * best[f"validation_{measure}"])
    scatter(axes, [place], marker, 6, colour, "_kept")


def _legend(figure: Figure, titles: list[str]) -> None:
    handles = [
        Line2D([], [], color=colour, marker=marker, lw=1.5, label=title)
        for title, (colour, marker) in _COLOURS.items()
        if title in titles
    ]
    handles += [
        Line2D([], [], color=INK, ls=style, lw=1.5, label=label)
        for style, label in (("-", "validation"), ("--", "training"))
    ]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(handles),
        frameon=False,
        labelcolor=INK,
        fontsize=9,
    )
