"""What a search with constraints or several objectives adds to `result.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shiftsearch.experiments.definition import Experiment
from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.experiments.wording import counted, percent
from shiftsearch.search.judging.front import front
from shiftsearch.search.study.goals import COSTS
from shiftsearch.search.study.records import TrialRecord


def tradeoff(
    experiment: Experiment,
    trials: Sequence[TrialRecord],
    candidates: Sequence[Candidate],
    machines: Sequence[str],
) -> dict[str, Any]:
    """The keys `front`, `constraints` and `latency`; each is absent where it would be empty.

    Args:
        experiment: the run's experiment.
        trials: the study's trials.
        candidates: the retrained configurations.
        machines: processors that measured latencies.
    """
    found: dict[str, Any] = {}
    if experiment.objectives:
        found["front"] = _front(experiment.objectives, trials, candidates)
    if experiment.constraints.bounds:
        found["constraints"] = {
            **{f"max_{name}": most for name, most in experiment.constraints.bounds.items()},
            "refused": sum(t.state == "refused" for t in trials),
            "reference": experiment.constraints.broken(trials[0].costs),
        }
    if machines:
        found["latency"] = {"machines": list(machines), "images": 1, "threads": 1}
    return found


def _front(
    objectives: Sequence[str], trials: Sequence[TrialRecord], candidates: Sequence[Candidate]
) -> dict[str, Any]:
    means = {c.number: c.mean for c in candidates if c.competes}
    points = [
        {
            "number": trial.number,
            objectives[0]: trial.value,
            **{name: trial.costs[name] for name in objectives[1:]},
            "mean": means.get(trial.number),
        }
        for trial in front(trials, objectives[1:])
    ]
    return {"objectives": list(objectives), "points": points}


def front_titles(objectives: Sequence[str]) -> list[str]:
    """The headings of the front's table, in the terminal and the report."""
    return [
        "Trial",
        "In the search",
        "Mean of new replicates",
        *(COSTS[n] for n in objectives[1:]),
    ]


def front_cells(point: Mapping[str, Any], objectives: Sequence[str]) -> list[str]:
    """A point of the front as cells of the table."""
    accuracies = [percent(point[objectives[0]]), percent(point["mean"])]
    return [str(point["number"]), *accuracies, *(f"{point[name]:,}" for name in objectives[1:])]


def constraint_lines(result: Mapping[str, Any]) -> list[str]:
    """What the constraints of a finished run did, in sentences; empty without constraints."""
    lines = []
    if (found := result.get("constraints")) is not None:
        bounds = [f"{name} {most:,}" for name, most in found.items() if name.startswith("max_")]
        lines.append(
            f"{counted(found['refused'], 'configuration')} refused before training: "
            f"{', '.join(bounds)}."
        )
        if found["reference"]:
            broken = " and ".join(found["reference"])
            lines.append(
                f"The reference configuration {broken}: it is the comparison, and cannot win."
            )
    if (latency := result.get("latency")) is not None:
        lines.append(
            "Latencies are those of one image on one thread of "
            f"{' and '.join(latency['machines'])}; other machines differ."
        )
    return lines
