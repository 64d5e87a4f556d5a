"""Tables of text that fit into a terminal of any width.

If the columns are too wide together, those that may be left out are, and the others continue in
further tables below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

_PADDING = 2
_WIDE_HEADER = 10


@dataclass(frozen=True)
class Column:
    """A column of text.

    Attributes:
        name: the header; it is broken at dots, and at underscores if it is long.
        cells: one for each row.
        left_aligned: whether it is text, not numbers.
        order: 0 is shown in every table. 1 is shown once. Columns of a higher order are left out
            if there is no room for all, the highest first.
    """

    name: str
    cells: Sequence[str]
    left_aligned: bool = False
    order: int = 1

    @property
    def header(self) -> str:
        """The name in lines."""
        lines = list[str]()
        for part in self.name.replace(".", "\n").split("\n"):
            line = ""
            for piece in part.replace("_", "_\0").split("\0"):
                if line and len(line) + len(piece) > _WIDE_HEADER:
                    lines.append(line)
                    line = ""
                line += piece
            lines.append(line)
        return "\n".join(lines)

    @property
    def width(self) -> int:
        """Characters, with the space after it."""
        return max(map(len, [*self.header.split("\n"), *self.cells])) + _PADDING


def fitted(columns: Sequence[Column], width: int) -> list[list[Column]]:
    """The columns of each table, in their order.

    A table is wider than `width` only if a single column does not fit beside those of order 0.

    Args:
        columns: at least one.
        width: of the terminal, in characters.
    """
    kept = list(columns)
    while _width(kept) > width and max(c.order for c in kept) > 1:
        kept.remove(max(kept, key=lambda column: column.order))
    always = [column for column in kept if column.order == 0]
    tables, now = [], list(always)
    for column in kept:
        if column.order == 0:
            continue
        if len(now) > len(always) and _width([*now, column]) > width:
            tables.append(now)
            now = list(always)
        now.append(column)
    return [*tables, now]


def table(columns: Sequence[Column], width: int) -> Group:
    """The fitted tables, and a line that names the columns that were left out."""
    found = fitted(columns, width)
    shown = {column.name for one in found for column in one}
    left_out = [c.name.replace("\n", " ") for c in columns if c.name not in shown]
    parts: list[Table | Text] = []
    for one in found:
        parts += [Text("")] * bool(parts) + [_drawn(one)]
    if left_out:
        more = f"left out: {', '.join(left_out)}; a wider terminal or --csv shows them"
        parts.append(Text(more, style="dim italic"))
    return Group(*parts)


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) - _PADDING


def _drawn(columns: Sequence[Column]) -> Table:
    drawn = Table(box=None, pad_edge=False, padding=(0, _PADDING, 0, 0))
    for column in columns:
        justify = "left" if column.left_aligned else "right"
        drawn.add_column(Text(column.header), no_wrap=True, justify=justify)  # type: ignore[arg-type]
    for row in zip(*(column.cells for column in columns), strict=True):
        drawn.add_row(*map(Text, row))
    return drawn
