"""The Pareto front in the report: a figure for each cost, and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shiftsearch.experiments.outcome.tradeoff import front_cells, front_titles
from shiftsearch.experiments.report.figures.front import cost_against_accuracy
from shiftsearch.search.study.records import TrialRecord


def sizes(result: Mapping[str, Any]) -> dict[int, str]:
    """By trial, the parameters of each retrained network; empty if all have as many."""
    candidates = result["retrain"]["candidates"]
    known = {c["number"]: c["costs"]["parameters"] for c in candidates if "costs" in c}
    differ = len(set(known.values())) > 1
    return {number: f"{count:,} parameters" for number, count in known.items()} if differ else {}


def front_view(
    result: Mapping[str, Any], trials: Sequence[TrialRecord], winner: int
) -> dict[str, Any] | None:
    """What the template shows of the front; None for a run with one objective."""
    if "front" not in result:
        return None
    objectives, points = result["front"]["objectives"], result["front"]["points"]
    numbers = [point["number"] for point in points]
    return {
        "objectives": objectives,
        "titles": front_titles(objectives),
        "rows": [front_cells(point, objectives) for point in points],
        "figures": [
            cost_against_accuracy(trials, numbers, name, winner) for name in objectives[1:]
        ],
    }
