"""`report.html`: what a run found and what explains it, on one page that stands alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from data.publishing import write_atomically
from experiments.folder import NotARun, Run
from experiments.outlook import outlook_lines
from experiments.report.advice import advice
from experiments.report.analysis import Analysis, analyse_run
from experiments.report.explanations import frozen_rows, protocol_lines
from experiments.report.figures.accuracy import accuracy_intervals, confusion_matrix
from experiments.report.figures.change import class_changes
from experiments.report.figures.search import search_history, time_used
from experiments.report.findings import answer, exported_alone
from experiments.report.views import data_view, features_view, importance_view, mistakes_view
from experiments.result_rows import table_lines
from experiments.results import STAGES
from experiments.wording import duration, interval, one_line, percent, unbroken
from search.importance import importances
from search.records import TrialRecord
from search.space import Space

_SECTIONS = {
    "data": "Data",
    "protocol": "Protocol and configuration",
    "results": "Accuracies before and after fine-tuning",
    "confusion": "Confusion matrices",
    "classes": "Change of each class",
    "mistakes": "Most confident mistakes",
    "features": "What fine-tuning changed inside",
    "search": "Search",
    "importance": "What mattered in the search",
    "retraining": "Retraining, noise and outlook",
    "advice": "What the data recommends next",
    "provenance": "Provenance",
}
"""Anchor, which names the template too, to title; in the page's order."""
_MISSING = (
    "Not shown: the run's dataset or exported model is gone, damaged or of other data; "
    "`shiftsearch report` fills this in when both are back."
)


def explained(run: Run) -> Analysis | None:
    """What explains the winner, or None where the run's dataset or bundle is gone or unfit."""
    try:
        return analyse_run(run)
    except NotARun:
        return None


def write_report(
    result: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    space: Space,
    analysis: Analysis | None,
    path: Path,
) -> None:
    """One self-contained HTML page without scripts.

    Args:
        result: `result.json`.
        trials: of the study.
        space: that was searched.
        analysis: what explains the winner; None where the run's data or model is gone, which
            the page then says.
        path: of the page; replaced in one step.
    """
    winner = result["winner"]["number"]
    importance = importances(trials, space, result["search"]["seed"])
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            result=result,
            sections=list(_SECTIONS.items()),
            missing=_MISSING,
            answer=answer(result),
            tied=_tied(result["search"], trials),
            exported_alone=exported_alone(result),
            data=data_view(result, analysis),
            protocol=protocol_lines(result),
            **_configurations(result, space),
            lines=table_lines(result),
            intervals=accuracy_intervals(result["table"]),
            confusions=_confusions(result),
            mistakes=analysis and mistakes_view(analysis),
            features=analysis and features_view(analysis),
            frozen=frozen_rows(trials),
            history=search_history(trials, winner),
            time=time_used(trials),
            failed=[(t.number, one_line(t.reason)) for t in trials if t.state == "fail"],
            stopped=[(t.number, one_line(t.reason)) for t in trials if t.state == "pruned"],
            complete=sum(t.state == "complete" for t in trials),
            branches=sum(t.branch_of is not None for t in trials),
            mattered=importance_view(trials, space, importance, winner),
            advice=advice(result, trials, space, importance, analysis),
            outlook=outlook_lines(result),
            looks=Counter((k["configuration"], k["purpose"]) for k in result["held_out_looks"]),
        )
    )
    write_atomically(path, page.encode())


def _environment() -> jinja2.Environment:
    """The templates with the words of a page: whatever is filled in is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _unbroken(percent),
        "interval": _unbroken(interval),
        "duration": _unbroken(duration),
        "unbroken": unbroken,
        "value": _value,
        "title_case": _title_case,
    }
    return environment


def _tied(search: Mapping[str, Any], trials: Sequence[TrialRecord]) -> list[int]:
    """Trials as good as the one that is named the best."""
    equal = [t.number for t in trials if t.value is not None and t.value == search["best_value"]]
    return [number for number in equal if number != search["best_number"]]


def _configurations(result: Mapping[str, Any], space: Space) -> dict[str, list[dict[str, Any]]]:
    """Per hyperparameter its domain and two values: what is searched or differs, and the rest."""
    winner, reference = result["winner"]["configuration"], result["reference"]["configuration"]
    found: dict[str, list[dict[str, Any]]] = {"compared": [], "fixed": []}
    for name in result["space"]:
        line = {
            "name": name,
            "space": result["space"][name],
            "reference": reference.get(name, "not used"),
            "winner": winner.get(name, "not used"),
        }
        is_compared = name in space.distributions or line["reference"] != line["winner"]
        found["compared" if is_compared else "fixed"].append(line)
    return found


def _confusions(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Per configuration its name, its two matrices and the change of its classes."""
    classes = result["dataset"]["classes"]
    found = []
    for name, matrices in result["confusion"].items():
        if not isinstance(matrices, Mapping):  # beside them stand split and part
            continue
        figures = {
            when: confusion_matrix(
                matrices[when], classes, f"Confusion matrix of the {name}, {when} fine-tuning"
            )
            for when in STAGES
        }
        figures["classes"] = class_changes(
            matrices["before"],
            matrices["after"],
            classes,
            f"The {name} on TEST2's selection part, before to after fine-tuning",
        )
        found.append({"name": name, **figures})
    return found


def _unbroken(write: Callable[..., str]) -> Callable[..., str]:
    """What it writes, kept on one line."""
    return lambda value: unbroken(write(value))


def _value(value: object) -> str:
    """Four significant digits of a number, true or false; anything else as it is."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _title_case(text: str) -> str:
    """With its first letter as a capital, the others as they are."""
    return text[:1].upper() + text[1:]
