"""The page that shows runs side by side, one HTML file without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shiftsearch.data.publishing import write_atomically
from shiftsearch.experiments.outcome.comparison import (
    Compared,
    differing,
    differing_winners,
    fact_rows,
    notes,
)
from shiftsearch.experiments.report.figures.runs import run_intervals
from shiftsearch.experiments.report.templating import template_environment


def write_runs_page(runs: Sequence[Compared], path: Path) -> None:
    """Write the page.

    Args:
        runs: at least two.
        path: of the page, which is replaced in one step.

    Raises:
        OSError: it cannot be written.
    """
    page = template_environment().get_template("runs.html.j2")
    html = page.render(
        runs=runs,
        facts=fact_rows(runs),
        settings=differing([run.settings for run in runs]),
        winners=differing_winners(runs),
        notes=notes(runs),
        figure=run_intervals(runs) if any(run.result for run in runs) else None,
    )
    write_atomically(path, html.encode())
