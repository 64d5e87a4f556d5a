"""The common style of all figures: the page's colours, axes without frames, and inline SVG.

Figures use the page's colours. Matplotlib draws with stand-ins, which are then replaced by CSS
variables from the page's style sheet. Text stays text, in the page's font. Series differ in shape
as well as in colour, and colour-blind readers can tell the colours apart.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from html import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from shiftsearch.experiments.wording import one_line

INK, BEFORE, AFTER, CELL, MARK = "#010101", "#010102", "#010103", "#010104", "#010105"
"""Stand-ins for the colours of text, the two series, cells behind text, and highlights."""
PAPER = "#010106"
"""Stand-in for the page's background."""
_COLOURS = {
    INK: "currentColor",
    BEFORE: "var(--before, #b35c00)",
    AFTER: "var(--after, #0b5394)",
    CELL: "var(--cell, #6ba3d6)",
    MARK: "var(--mark, #8a2d5c)",
    PAPER: "var(--paper, #ffffff)",
}
_LONGEST = 20  # characters of a name


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of this size in inches with one axes without a frame, in the page's text colour."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, add_axes(figure, 1, 1, 1)


def add_axes(figure: Figure, rows: int, columns: int, place: int) -> Axes:
    """Axes without a frame in a grid of the figure, in the page's text colour; counted from 1."""
    axes = figure.add_subplot(rows, columns, place)
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set(color=INK, size=9)
    axes.yaxis.label.set(color=INK, size=9)
    return axes


def grid(axes: Axes, axis: str) -> None:
    """Draw lines at the ticks of "x", "y" or "both", behind everything else."""
    axes.grid(visible=True, axis=axis, color=INK, alpha=0.15, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def scatter(
    axes: Axes,
    places: Sequence[tuple[float, float]],
    marker: str,
    size: float,
    colour: str,
    label: str,
    *,
    ring: bool = False,
) -> None:
    """Draw the markers of one series; without places there is no legend entry either.

    Args:
        axes: the axes to draw into.
        places: (x, y) of each marker.
        marker: name of a matplotlib marker.
        size: in points.
        colour: a stand-in.
        label: text in the legend.
        ring: whether the markers are not filled.
    """
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


def legend_above(axes: Axes, columns: int) -> None:
    """Put the legend above the axes, with this number of columns."""
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=columns,
        frameon=False,
        labelcolor=INK,
        fontsize=9,
        handletextpad=0.3,
        columnspacing=1.2,
    )


def plain(name: str) -> str:
    """A name on one line, shortened if it is long, with nothing that matplotlib interprets."""
    line = one_line(name)
    shown = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
    return shown.replace("$", r"\$")  # matplotlib reads text between two $ as a formula


def to_svg(figure: Figure, alt: str) -> str:
    """The figure as SVG with the text alternative `alt`; it becomes smaller on a narrow page."""
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    # With this salt, ids are the same in each call and different in each figure of a page.
    with (
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": alt}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the page's fonts draw the text
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    _, _, text = buffer.getvalue().partition("<svg ")
    _, _, text = text.partition(">")  # its attributes, replaced below
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # these ids are the same in every figure
    text = re.sub(r"font-family: [^;]*; ", "", text)
    for stand_in, colour in _COLOURS.items():
        text = text.replace(stand_in, colour)
    text = re.sub(r"(?<= [xyd]=\")[^\"]*", _rounded, text)
    text = re.sub(r'<use [^>]*(style="[^"]*")/>(?:\s*<use [^>]*\1/>)+', _styled_once, text)
    text = re.sub(r">\s+<", "><", text)
    width, height = 72 * figure.get_size_inches()
    return (
        f'<svg role="img" aria-label="{escape(alt)}" viewBox="0 0 {width:g} {height:g}" '
        f'style="max-width: {width:g}pt">{text}'
    )


def as_file(drawing: str) -> bytes:
    """A figure that `to_svg` made, as the content of a file of its own, on white paper."""
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    looks = "background: #ffffff; font-family: sans-serif; "
    head, rest = drawing.split('style="', 1)
    size = re.sub(r'(viewBox="0 0 (\S+) (\S+)")', r'\1 width="\2pt" height="\3pt"', head)
    return f'{size.replace("<svg", f"<svg {names}", 1)}style="{looks}{rest}'.encode()


def _rounded(places: re.Match[str]) -> str:
    """Coordinates rounded to hundredths of a point; finer differences are not visible."""
    return re.sub(r"\d+\.\d{3,}", lambda n: f"{float(n[0]):.2f}", places[0])


def _styled_once(markers: re.Match[str]) -> str:
    """Markers of one series, grouped so that their style is written once."""
    return f"<g {markers[1]}>{markers[0].replace(f' {markers[1]}', '')}</g>"
