"""Explanations of a run's result: the analysis, TensorBoard's pages of the winner, the report.

The result does not depend on them and is written first. So a failure here does not end the
command: it is reported in one line, and the next call tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shiftsearch.experiments.analysis.learning import learning_curves
from shiftsearch.experiments.analysis.run_analysis import Analysis, analyse_run
from shiftsearch.experiments.attempting import attempt
from shiftsearch.experiments.outcome.results import write_result
from shiftsearch.experiments.report.page import write_report
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.tensorboard.places import mark_winner
from shiftsearch.experiments.tensorboard.winner import has_winner, write_winner
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord


def explained(run: Run, tell: Callable[[str], None]) -> Analysis | None:
    """The analysis of the winner; None if it fails, or the run's data or model is gone."""

    def analyse() -> Analysis | None:
        try:
            return analyse_run(run)
        except NotARun:
            return None

    return attempt("analysis", analyse, tell)


def write_page(
    run: Run,
    result: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    space: Space,
    analysis: Analysis | None,
    tell: Callable[[str], None],
) -> None:
    """Write `report.html`; see `write_report`."""
    winner = result["winner"]["number"]
    curves = attempt("learning curves", lambda: learning_curves(run.store, trials, winner), tell)
    failures = attempt(
        run.report.name,
        lambda: write_report(result, trials, space, analysis, run.report, curves),
        tell,
    )
    for failure in failures or []:
        tell(f"{run.report.name}: {failure}")


def adorn(
    run: Run,
    result: dict[str, Any],
    trials: Sequence[TrialRecord],
    space: Space,
    tell: Callable[[str], None],
) -> None:
    """Make everything that explains the result of a finished run.

    Args:
        run: the run's folder, with `result.json` and bundle.
        result: content of `result.json`; if its key `analysis` is None, the key is set here and in
            the file.
        trials: the study's trials.
        space: the searched space.
        tell: called with one line for each thing that failed.
    """
    winner = result["winner"]["number"]
    attempt("the mark in TensorBoard", lambda: mark_winner(run.tensorboard, winner, trials), tell)
    analysis = explained(run, tell)
    if analysis is not None:
        is_new = result.get("analysis") is None
        # The pages first: until the analysis is noted, the pages may show an earlier winner.
        if is_new or not has_winner(run.tensorboard):
            pages = "TensorBoard's pages of the winner"
            attempt(pages, lambda: write_winner(run.tensorboard, analysis), tell)
        if is_new:
            attempt("analysis", lambda: _note(analysis, run, result), tell)
    write_page(run, result, trials, space, analysis, tell)


def _note(analysis: Analysis, run: Run, result: dict[str, Any]) -> None:
    found = analysis.to_json()
    write_result(run.result, {**result, "analysis": found})
    result["analysis"] = found
