"""The box at the top of the report: verdict, recommendations, configuration, use of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from shiftsearch.experiments.outcome.outlook import beyond_seeds
from shiftsearch.experiments.outcome.result_rows import model_in_words, why_in_words
from shiftsearch.experiments.report.failures import Sign
from shiftsearch.experiments.report.findings import answer, comparison_line
from shiftsearch.experiments.report.remedies import command
from shiftsearch.search.study.records import TrialRecord

RECOMMENDED = 3
"""Number of recommendations at the top."""


def answer_view(result: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict, and the sentences with the numbers that it is based on."""
    said = verdict(result)
    return {"verdict": said, "answer": [line for line in answer(result) if line != said]}


def failure_view(found: Sequence[Sign]) -> dict[str, Any]:
    """The signs of failure, and the command that searches again with all their changes.

    It is one for the run's folder, so that a run that was moved keeps its report.
    """
    return {"signs": found, "again": _again(Path(), Path("../again"), found)}


def _again(folder: Path, new: Path, found: Sequence[Sign]) -> str:
    settings = [setting for sign in found for setting in sign.settings]
    return command(folder, new, settings) if settings else ""


def failure_lines(folder: Path, found: Sequence[Sign]) -> list[str]:
    """The same for the terminal; empty without signs."""
    if not found:
        return []
    lines = ["What went wrong, the most important first:"]
    for number, sign in enumerate(found, 1):
        lines += [f"{number}. {sign.sentence}", f"   {sign.change}", f"   {sign.line}"]
    beside = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    new = next(other for other in beside if not other.exists())
    return [*lines, "All of these changes:", f"   {_again(folder, new, found)}"]


def verdict(result: Mapping[str, Any]) -> str:
    """Whether the winner is better than the reference configuration, in one sentence."""
    comparison = result["comparison"]
    if comparison is None:
        return comparison_line(result)
    low, high = comparison["interval"]
    winner = f"winner, trial {result['winner']['number']},"
    if high < 0:
        return f"The reference configuration is better than the {winner} that the search found."
    if low <= 0:
        return f"Neither the {winner} nor the reference configuration is shown to be better."
    how = {
        True: "by more than the noise between seeds",
        False: "on these images, but within the noise between seeds",
        None: "on these images; the noise between seeds is unknown",
    }[beyond_seeds(result)]
    return f"The {winner} is better than the reference configuration, {how}."


def changed(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The winner's hyperparameters that differ from the reference's, and how many do not.

    Args:
        lines: the table of configurations, `name`, `reference` and `winner` in each.
    """
    differ = [line for line in lines if line["winner"] != line["reference"]]
    return {"differ": differ, "same": len(lines) - len(differ)}


def use_view(result: Mapping[str, Any]) -> dict[str, str]:
    """The bundle, and how its own network is named on a command line and in Python, if it is one.

    The arguments are empty for a network of this package.
    """
    source = str(result["winner"]["configuration"].get("network.source", ""))
    name = source.partition("@")[0]
    return {
        "bundle": result["exported"]["bundle"],
        "option": f" --network {name}" if source else "",
        "argument": f", network={name.rpartition(':')[2]}" if source else "",
    }


def model_view(result: Mapping[str, Any], trials: Sequence[TrialRecord]) -> dict[str, Any]:
    """What is known of the exported model: what it is, its calibration, size and speed."""
    model = result.get("model")
    number = result["exported"]["number"]
    costs = next((t.costs for t in trials if t.number == number), {})
    passes = 1 if model is None else model["forward_passes"]
    return {
        "what": f"trial {number}, replicate {result['exported']['replicate']}"
        if model is None
        else model_in_words(model),
        "why": "" if model is None else why_in_words(model),
        "model": model,
        "passes": passes,
        "costs": costs,
    }
