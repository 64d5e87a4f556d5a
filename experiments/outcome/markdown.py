"""Tables and texts in Markdown, with names that may hold anything."""

from __future__ import annotations

import re
from collections.abc import Sequence

from shiftsearch.experiments.wording import unbroken

_MARKS = re.compile(r"([\\`*_\[\]{}#|~$!])")


def plain(text: str) -> str:
    """A text that Markdown shows as it is, in a table too: one line, without markup or HTML."""
    line = "".join(c if c.isprintable() else " " for c in text)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKS.sub(r"\\\1", line)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> list[str]:
    """A table of lines of Markdown.

    Args:
        header: one cell for each column.
        rows: cells that `plain` has made, or Markdown.
        numbers: from which column on cells are numbers, which stand on the right.
    """
    count = len(header)
    marks = ["---"] * count if not numbers else ["---"] * numbers + ["---:"] * (count - numbers)
    return [_line(header), _line(marks), *map(_line, rows)]


def code(language: str, *lines: str) -> list[str]:
    """A block of code."""
    return [f"```{language}", *lines, "```"]


def document(sections: Sequence[tuple[str, Sequence[Sequence[str]]]]) -> str:
    """Sections of a heading and blocks; each block is a list of lines, empty ones are left out."""
    parts = []
    for heading, blocks in sections:
        parts += [heading, *("\n".join(block) for block in blocks if block)]
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(unbroken, cells))} |"
