"""`report.html`: the findings of a run and their explanation, on one page without other files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from shiftsearch.data.publishing import write_atomically
from shiftsearch.experiments.analysis.learning import Curves
from shiftsearch.experiments.analysis.run_analysis import Analysis
from shiftsearch.experiments.outcome.honest import honest_lines
from shiftsearch.experiments.outcome.outlook import outlook_lines
from shiftsearch.experiments.outcome.result_rows import model_lines, rows_of, table_lines
from shiftsearch.experiments.outcome.tradeoff import constraint_lines
from shiftsearch.experiments.outcome.whereabouts import place_rows
from shiftsearch.experiments.report.advice import advice
from shiftsearch.experiments.report.confusions import changes_of, confusion_matrices
from shiftsearch.experiments.report.explanations import frozen_rows, protocol_lines
from shiftsearch.experiments.report.failures import Sign, nothing_works, signs
from shiftsearch.experiments.report.figures.accuracy import accuracy_intervals
from shiftsearch.experiments.report.figures.curves import learning_curves
from shiftsearch.experiments.report.figures.search import search_history, time_used
from shiftsearch.experiments.report.findings import exported_alone
from shiftsearch.experiments.report.freezing_range import range_lines
from shiftsearch.experiments.report.templating import template_environment
from shiftsearch.experiments.report.top import (
    RECOMMENDED,
    answer_view,
    changed,
    failure_view,
    model_view,
    use_view,
)
from shiftsearch.experiments.report.tradeoff_view import front_view, sizes
from shiftsearch.experiments.report.views import (
    data_view,
    features_view,
    importance_view,
    mistakes_view,
)
from shiftsearch.experiments.wording import in_one_line, one_line
from shiftsearch.search.judging.importance import Importance, importances
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord, objective_of

_MISSING = (
    "Not shown: the run's dataset or exported model is missing, damaged or from other data, or "
    "the analysis failed; `shiftsearch report` tries again."
)


@dataclass(frozen=True)
class _Material:
    """The arguments of `write_report`, from which the sections are made."""

    result: Mapping[str, Any]
    trials: Sequence[TrialRecord]
    space: Space
    analysis: Analysis | None
    curves: Curves

    @property
    def winner(self) -> int:
        return int(self.result["winner"]["number"])

    @cached_property
    def importance(self) -> Importance | None:
        return importances(self.trials, self.space, self.result["search"]["seed"])

    @cached_property
    def signs(self) -> list[Sign]:
        return signs(self.result, self.trials)

    @cached_property
    def advice(self) -> list[str]:
        return advice(self.result, self.trials, self.space, self.importance, self.analysis)

    @cached_property
    def configurations(self) -> dict[str, list[dict[str, Any]]]:
        return _configurations(self.result, self.space)


def _protocol(m: _Material) -> dict[str, Any]:
    return {"protocol": protocol_lines(m.result), **m.configurations}


def _results(m: _Material) -> dict[str, Any]:
    rows = rows_of(m.result)
    return {
        "lines": table_lines(rows),
        "intervals": accuracy_intervals(rows),
        "honest": honest_lines(m.result),
    }


def _features(m: _Material) -> dict[str, Any]:
    features = m.analysis and features_view(m.analysis)
    lines = range_lines(m.analysis.probes, m.trials) if m.analysis else []
    return {"features": features, "frozen": frozen_rows(m.trials), "suggestion": lines}


def _search(m: _Material) -> dict[str, Any]:
    states = ("failed", "pruned", "refused")
    ended = {state: [t for t in m.trials if t.state == state] for state in states}
    reasons = {s: [(t.number, one_line(t.reason)) for t in found] for s, found in ended.items()}
    begun = [t for t in m.trials if t.state != "refused"]
    return {
        "tied": _tied(m.result["search"], m.trials),
        "history": search_history(begun, m.winner),
        "time": time_used(begun),
        "front": front_view(m.result, m.trials, m.winner),
        "constraints": constraint_lines(m.result),
        "failed": reasons["failed"],
        "stopped": reasons["pruned"],
        "refused": reasons["refused"],
        "places": place_rows(m.result),
        "complete": sum(t.state == "complete" for t in m.trials),
        "branches": sum(t.branch_of is not None for t in m.trials),
    }


def _importance(m: _Material) -> dict[str, Any]:
    return {"mattered": importance_view(m.trials, m.space, m.importance, m.winner)}


def _advice(m: _Material) -> dict[str, Any]:
    return {"advice": m.advice, "failed": nothing_works(m.signs)}


def _provenance(m: _Material) -> dict[str, Any]:
    looks = Counter((k["configuration"], k["purpose"]) for k in m.result["held_out_looks"])
    return {
        "looks": looks,
        "exported_alone": exported_alone(m.result),
        "model_lines": model_lines(m.result),
    }


@dataclass(frozen=True)
class _Section:
    """A part of the page.

    Attributes:
        anchor: the section's link, and the name of its template, which can use the arguments
            `result`, `trials`, `space` and `analysis` of `write_report`, and the title of the
            `objective`.
        title: the section's heading.
        view: returns further values for the template, by name.
    """

    anchor: str
    title: str
    view: Callable[[_Material], dict[str, Any]] = lambda _: {}


_TOP = (
    _Section("failures", "", lambda m: failure_view(m.signs)),
    _Section("answer", "", lambda m: answer_view(m.result)),
    _Section(
        "recommendations",
        "Recommendations",
        lambda m: _advice(m) | {"most": RECOMMENDED},
    ),
    _Section(
        "winner",
        "The winner's configuration",
        lambda m: changed([line for lines in m.configurations.values() for line in lines]),
    ),
    _Section("use", "Use the model", lambda m: use_view(m.result)),
)
"""The parts of the box at the top, in its order; without a title a part has no heading."""
_SECTIONS = (
    _Section("data", "Data", lambda m: {"data": data_view(m.result, m.analysis)}),
    _Section("protocol", "Protocol and configuration", _protocol),
    _Section("results", "Accuracies before and after fine-tuning", _results),
    _Section("model", "The exported model", lambda m: model_view(m.result, m.trials)),
    _Section(
        "curves",
        "Learning curves",
        lambda m: {"curves": m.curves and learning_curves(m.curves)},
    ),
    _Section(
        "confusion", "Confusion matrices", lambda m: {"confusions": confusion_matrices(m.result)}
    ),
    _Section("classes", "Change of each class", lambda m: {"changes": changes_of(m.result)}),
    _Section(
        "mistakes",
        "Most confident mistakes",
        lambda m: {"mistakes": m.analysis and mistakes_view(m.analysis)},
    ),
    _Section("features", "What fine-tuning changed inside", _features),
    _Section("search", "Search", _search),
    _Section("importance", "What mattered in the search", _importance),
    _Section(
        "retraining",
        "Retraining, noise and outlook",
        lambda m: {"outlook": outlook_lines(m.result), "sizes": sizes(m.result)},
    ),
    _Section("advice", "What the data recommends next", _advice),
    _Section("provenance", "Provenance", _provenance),
)
"""The sections in the page's order."""


def write_report(
    result: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    space: Space,
    analysis: Analysis | None,
    path: Path,
    curves: Curves | None = None,
) -> list[str]:
    """Write one self-contained HTML page without scripts.

    If a section cannot be made, the page says so in its place and has the other sections.

    Args:
        result: content of `result.json`.
        trials: the study's trials.
        space: the searched space.
        analysis: analysis of the winner; None if there is none, and then the page says so.
        path: path of the page in the run's folder, which is replaced in one step.
        curves: learning curves of winner and reference; None if there are none.

    Returns:
        One line for each section that could not be made.
    """
    material = _Material(result, trials, space, analysis, curves or {})
    environment = template_environment()
    failures: list[str] = []

    def made(section: _Section) -> str:
        """The section as HTML; one that fails is told in its place and in `failures`."""
        try:
            template = environment.get_template(f"{section.anchor}.html.j2")
            given = {"trials": trials, "space": space, "analysis": analysis}
            given |= {"objective": objective_of(trials).title}
            view = given | section.view(material)
            return template.render(result=result, missing=_MISSING, **view)
        except Exception as error:  # the other sections do not depend on this one
            title = section.title or section.anchor
            failures.append(f"section {title!r} failed: {in_one_line(error)}")
            return environment.get_template("failed.html.j2").render(failure=failures[-1])

    parts = {
        name: [(section.anchor, section.title, made(section)) for section in sections]
        for name, sections in (("top", _TOP), ("sections", _SECTIONS))
    }
    page = environment.get_template("report.html.j2").render(result=result, **parts)
    write_atomically(path, page.encode())
    return failures


def _tied(search: Mapping[str, Any], trials: Sequence[TrialRecord]) -> list[int]:
    """Other trials with the value of the best one."""
    equal = [t.number for t in trials if t.value is not None and t.value == search["best_value"]]
    return [number for number in equal if number != search["best_number"]]


def _configurations(result: Mapping[str, Any], space: Space) -> dict[str, list[dict[str, Any]]]:
    """Domain and both values of each hyperparameter; in two lists, searched or different first."""
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
