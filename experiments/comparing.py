"""The command `compare`: runs side by side, in the terminal, as JSON, and as a page."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shiftsearch.data.problems import ProblemsError
from shiftsearch.experiments.exits import DONE
from shiftsearch.experiments.outcome.comparison import (
    Compared,
    compared,
    differing,
    differing_winners,
    fact_rows,
    notes,
)
from shiftsearch.experiments.wording import setting


class NotComparable(ProblemsError):  # noqa: N818, named by its cause
    """The runs cannot be compared as asked."""


_NAMES = 29
"""Most characters in a line of the names in the terminal's table; its titles are as short."""

INPUT_ERRORS = (NotComparable,)
"""Errors in the user's input; each has `problems`."""


def compare(options: Namespace, console: Console) -> int:
    """`shiftsearch compare`."""
    _check(options.runs, options.page)
    runs, problems = compared(options.runs)
    if problems:
        raise NotComparable(problems)
    if options.json:
        print(json.dumps(document(runs), indent=1, allow_nan=False))
    else:
        console.print(terminal_table(runs))
        for line in notes(runs):
            console.print(Text(line), soft_wrap=True)
    if options.page is not None:
        from shiftsearch.experiments.report.runs_page import write_runs_page  # draws figures

        write_runs_page(runs, options.page)
        if not options.json:
            console.print(f"page: {options.page}", soft_wrap=True)
    return DONE


def document(runs: Sequence[Compared]) -> dict[str, Any]:
    """The comparison as JSON, described in FORMATS.md."""
    labels = [run.label for run in runs]

    def by_run(rows: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
        return {name: dict(zip(labels, row, strict=True)) for name, row in rows.items()}

    return {
        "schema": 1,
        "runs": [run.to_json() for run in runs],
        "settings": by_run(differing([run.settings for run in runs])),
        "winners": by_run(differing_winners(runs)),
        "notes": notes(runs),
    }


def terminal_table(runs: Sequence[Compared]) -> Table:
    """Results, then the settings that differ, then the winners' values that differ."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    for run in runs:
        table.add_column(Text(run.label), overflow="fold")
    for title, cells in fact_rows(runs):
        table.add_row(title, *(Text(_one_below_another(cell)) for cell in cells))
    for title, rows in (
        ("settings that differ", differing([run.settings for run in runs])),
        ("winners' values that differ", differing_winners(runs)),
    ):
        table.add_section()
        table.add_row(Text(title if rows else f"no {title}", style="bold"))
        for name, row in rows.items():
            table.add_row(Text(_in_lines(name)), *(Text(setting(value)) for value in row))
    return table


def _one_below_another(cell: str) -> str:
    """An accuracy, its interval and its n in lines of their own."""
    return cell.replace(" [", "\n[").replace(", n =", "\nn =")


def _in_lines(name: str) -> str:
    """A dotted name, none of its lines cut in the table: what is long goes on below."""
    lines = [""]
    for part in name.replace(".", ".\n").split("\n"):
        if len(lines[-1] + part) > _NAMES:
            lines.append("  ")
        lines[-1] += part
    return "\n".join(lines)


def _check(runs: Sequence[Path], page: Path | None) -> None:
    """Raise `NotComparable` with a line for each problem of the arguments."""
    problems = []
    if len(runs) < 2:
        problems.append(f"compare: {len(runs)} run, but at least 2 are compared")
    twice = {str(run) for i, run in enumerate(runs) if run in runs[:i]}
    problems += [f"{run}: is named twice" for run in sorted(twice)]
    if page is not None:
        if page.suffix != ".html":
            problems.append(f"--to {page}: must end in .html")
        elif page.is_dir() or not page.parent.is_dir():
            problems.append(f"--to {page}: must be a file in a folder that exists")
    if problems:
        raise NotComparable(problems)
