"""The command `trials`: a table of the study's trials, sorted and fitted to the terminal."""

from __future__ import annotations

import difflib
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.console import Console, Group

from shiftsearch.experiments.live.fitted_table import Column, table
from shiftsearch.experiments.live.status import definition_of, trials_of
from shiftsearch.experiments.outcome.trials_table import trials_frame
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.wording import duration, one_line, percent
from shiftsearch.model.objective import ACCURACY, OBJECTIVES
from shiftsearch.search.judging.front import front
from shiftsearch.search.study.goals import COSTS


def _objective(frame: pd.DataFrame) -> str:
    """The objective's column; the columns before and after fine-tuning have longer names."""
    return next(o.column for o in OBJECTIVES.values() if o.column in frame.columns)


def _headings(frame: pd.DataFrame) -> dict[str, str]:
    """The table's headings for columns of `trials.csv`; --sort accepts them, too."""
    objective = _objective(frame)
    return {
        "trial": "number",
        "before": f"{objective}_before",
        "after": f"{objective}_after",
        "epochs": "baseline_epochs",
        "time": "seconds",
    }


def _is_score(column: str) -> bool:
    """Whether a column holds accuracies or another score."""
    return any(f"_{name}" in column for name in OBJECTIVES)


class WrongOption(ValueError):  # noqa: N818, named by its cause
    """There are no such rows or columns; the message says which there are."""


INPUT_ERRORS = (NotARun, WrongOption)
"""Errors in the user's input; the message is one line."""


def trials(options: Namespace, console: Console) -> int:
    """`shiftsearch trials`."""
    run = Run(options.run)
    found = trials_of(run)
    frame = trials_frame(found)
    if options.pareto:
        frame = frame[frame["number"].isin([t.number for t in front(found, _costs_of(run))])]
    column = column_of(frame, options.sort)
    rows = arranged(frame, column, options.top)
    if options.csv:
        sys.stdout.write(rows.to_csv(index=False))
    elif rows.empty:
        console.print("no trials yet")
    else:
        console.print(trials_table(rows, console.width, column), soft_wrap=False)
    return 0


def _costs_of(run: Run) -> Sequence[str]:
    """The costs among the run's objectives.

    Raises:
        WrongOption: the run has one objective.
    """
    costs = definition_of(run).get("objectives", ())[1:]
    if not costs:
        raise WrongOption(
            "--pareto: this run has one objective; see `objectives` in docs/experiment.md"
        )
    return list(costs)


def column_of(frame: pd.DataFrame, sort: str | None) -> str | None:
    """The column that `--sort` gives by its name, its heading or the end of its dotted name.

    Raises:
        WrongOption: there is no such column, or several; the message names the nearest.
    """
    column = _headings(frame).get(sort or "", sort)
    if column is None or column in frame.columns:
        return column
    ends = [name for name in frame.columns if name.endswith(f".{column}")]
    if len(ends) == 1:
        return ends[0]
    names = ends or difflib.get_close_matches(column, list(frame.columns), n=1, cutoff=0.0)
    raise WrongOption(
        f"--sort {sort}: trials.csv has no such column; nearest: {' and '.join(names)}"
    )


def arranged(frame: pd.DataFrame, column: str | None, top: int | None) -> pd.DataFrame:
    """The first `top` rows in order; missing values last, ties by number.

    Accuracies are sorted best first, all other columns ascending.

    Args:
        frame: from `experiments.outcome.trials_table.trials_frame`.
        column: a column of it; None means the number, or with `top` the objective.
        top: number of rows to keep; None keeps all.

    Raises:
        WrongOption: `top` is below 1.
    """
    if top is not None and top < 1:
        raise WrongOption(f"--top {top}: must be at least 1")
    column = column or ("number" if top is None else _objective(frame))
    rows = frame.sort_values(
        column, ascending=not _is_score(column), na_position="last", kind="stable"
    )
    return rows if top is None else rows.head(top)


def trials_table(rows: pd.DataFrame, width: int, first: str | None = None) -> Group:
    """The main columns, and all hyperparameters and costs that differ.

    In a narrow terminal some of the main columns are left out, and the hyperparameters continue in
    further tables below.

    Args:
        rows: from `arranged`.
        width: width of the terminal, in characters.
        first: a column that is always shown, because the rows are sorted by it.
    """
    objective = _objective(rows)
    before, after = f"{objective}_before", f"{objective}_after"
    value = "TEST2"
    if objective != ACCURACY.column:
        value = objective.replace("_", "\n").replace("test2", "TEST2")
    epochs = [
        "" if pd.isna(b) else f"{b}+{f}"
        for b, f in zip(rows.baseline_epochs, rows.fine_tune_epochs, strict=True)
    ]
    roles = [_role(role, root) for role, root in zip(rows.role, rows.branch_of, strict=True)]

    def order(otherwise: int, *names: str) -> int:
        return 1 if first in names else otherwise

    columns = [
        Column("trial", [str(n) for n in rows["number"]], order=0),
        Column("state", list(rows["state"]), left_aligned=True),
        Column("role", roles, True, order(3, "role", "branch_of")),
        Column(
            f"{value}\nbefore", [_cell(v, before) for v in rows[before]], order=order(2, before)
        ),
        Column(f"{value}\nafter", [_cell(v, after) for v in rows[after]]),
        Column("epochs", epochs, order=order(4, "baseline_epochs", "fine_tune_epochs")),
        Column("time", [_cell(v, "seconds") for v in rows["seconds"]], order=order(5, "seconds")),
    ]
    shown = {"number", "state", "role", "branch_of", objective, before, after, "seconds"}
    able = [name for name in rows.columns if "." in name or name in COSTS]
    configured = rows[rows[able].notna().any(axis=1)]  # a waiting trial has no configuration yet
    more = [name for name in able if configured[name].nunique(dropna=False) > 1]
    if first is not None and first not in shown:
        more = [first, *(name for name in more if name != first)]
    columns += [Column(name, [_cell(v, name) for v in rows[name]]) for name in more]
    return table(columns, width)


def _role(role: Any, root: Any) -> str:
    if not pd.isna(root):
        return f"branch of {root}"
    return "" if pd.isna(role) or role == "sampled" else str(role)


def _cell(value: Any, column: str) -> str:
    if pd.isna(value):
        return ""
    if _is_score(column):
        return percent(float(value))
    if column == "seconds":
        return duration(float(value))
    if pd.api.types.is_bool(value):
        return str(value).lower()
    if column in COSTS:
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else one_line(str(value))
