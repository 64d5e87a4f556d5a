"""Recommendations from the final numbers: comparison, noise, gain, classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shiftsearch.experiments.outcome.outlook import beyond_seeds, degrees_of_freedom
from shiftsearch.experiments.outcome.statistics import wilson
from shiftsearch.experiments.wording import counted, duration, interval, percent, points
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.study.records import TrialRecord

_MOST_IMAGES = 100
"""Times the images at hand up to which a number of images needed is worth saying."""
_SAVES = 0.1
_ENOUGH = 20
"""Complete trials that it takes to advise to stop, as many as for `until_converged`."""


def which_to_use(result: Mapping[str, Any]) -> Iterator[str]:
    """The winner or the reference configuration, by their paired interval."""
    found = result["comparison"]
    if found is None:
        return
    low, high = found["interval"]
    where = f"on {found['n']} images of TEST2's {found['part']} part"
    where += ", which it was selected on, so this flatters" if found["part"] != "held-out" else ""
    difference = points(found["difference"], found["interval"])
    number = result["winner"]["number"]
    if low > 0 and beyond_seeds(result) is False:
        return  # `cheaper_alike` says why
    if low > 0:
        known = "" if beyond_seeds(result) else "; what another seed does to it is not known"
        yield (
            f"Use the winner, trial {number}: {difference} over the reference configuration "
            f"{where}{known}."
        )
    elif high < 0:
        yield f"Keep the reference configuration: the winner is {difference} {where}."
    else:
        yield (
            f"Keep the reference configuration until more is known: trial {number}, the winner, "
            f"is {difference} {where}, and the interval holds 0."
        )


def images_needed(result: Mapping[str, Any]) -> Iterator[str]:
    """How many images would tell winner and reference apart, if the measured difference holds.

    The interval's half width h falls with the root of n: it equals the difference d at
    n (h / d)^2, where an interval excludes 0 in half of all repetitions.
    """
    found = result["comparison"]
    if found is None:
        return
    low, high = found["interval"]
    if not low <= 0 <= high or found["difference"] <= 0:
        return
    ratio = (high - low) / 2 / found["difference"]
    n = math.ceil(found["n"] * ratio**2)
    if not found["n"] < n <= _MOST_IMAGES * found["n"]:
        return
    yield (
        f"To tell winner and reference apart, score them on about {n} images in place of "
        f"{found['n']}: the interval is {100 * (high - low) / 2:.2f} points to each side and "
        f"narrows with the root of n, to the difference itself, "
        f"{100 * found['difference']:.2f} points, at {found['n']} x {ratio:.2f}^2, if that "
        "difference is right; even then only every second such interval excludes 0."
    )


def cheaper_alike(result: Mapping[str, Any], trials: Sequence[TrialRecord]) -> Iterator[str]:
    """Which to use of the configurations that the noise cannot tell apart.

    The reference if it is one of them, else the one that trains fastest.
    """
    alike, noise = _outlook(result, "indistinguishable"), _outlook(result, "noise")
    if not alike or noise is None:
        return
    winner, reference = result["winner"]["number"], result["reference"]["number"]
    group = sorted({winner, *alike})
    named = ", ".join(map(str, group[:-1])) + f" and {group[-1]}"
    why = (
        f"trials {named} are not told apart by the noise between seeds (standard deviation "
        f"{100 * noise['sd']:.2f} points, {degrees_of_freedom(noise['degrees'])})"
    )
    if reference in alike:
        replicates = counted(result["retrain"]["replicates"], "replicate")
        is_better = result["comparison"] is not None and result["comparison"]["interval"][0] > 0
        yield (
            f"Retrain with more than {replicates} before relying "
            f"on the winner: the images tell it from the reference configuration, trial "
            f"{reference}, but {why}."
            if is_better
            else f"Prefer the reference configuration, trial {reference}, which is known: {why}."
        )
        return
    took = {t.number: _seconds(t.result) for t in trials if t.number in group and t.result}
    if winner not in took or len(took) < len(group):
        return
    fastest = min(took, key=lambda number: (took[number], number))
    if took[fastest] > (1 - _SAVES) * took[winner]:
        return
    yield (
        f"Where training time counts, prefer trial {fastest}: {why}, and its two stages took "
        f"{duration(took[fastest])} against {duration(took[winner])} of trial {winner}."
    )


def _seconds(result: ProtocolResult) -> float:
    """Of both stages, also where the baseline is another trial's: training anew takes both."""
    return result.baseline.seconds + result.fine_tune.seconds


def search_flattered(result: Mapping[str, Any]) -> Iterator[str]:
    """How far the search's own value of the winner was above its new replicates."""
    noise = _outlook(result, "noise")
    winner = next((c for c in result["retrain"]["candidates"] if c["role"] == "winner"), None)
    if noise is None or winner is None or None in (winner["search_value"], winner["mean"]):
        return
    drop = winner["search_value"] - winner["mean"]
    if drop <= noise["sd"]:
        return
    replicates = counted(len(winner["replicates"]), "new replicate")
    yield (
        f"Judge configurations by replicates, not by their value in the search: trial "
        f"{winner['number']} had {percent(winner['search_value'])} there and "
        f"{percent(winner['mean'])} as the mean of {replicates}, "
        f"{100 * drop:.2f} points less."
    )


def more_trials(result: Mapping[str, Any]) -> Iterator[str]:
    """Whether more trials of this search gain more than the noise between seeds.

    It never advises to stop on few trials, or where the best values are equal and below 1: then
    an estimated gain of 0 only says that there is nothing to estimate from.
    """
    noise, gain = _outlook(result, "noise"), _outlook(result, "expected_gain")
    if noise is None or gain is None:
        return
    search = result["search"]
    is_known = search["complete"] >= _ENOUGH and (gain["gain"] > 0 or search["best_value"] == 1)
    expected = f"{100 * gain['gain']:.2f} points {interval(gain['interval'])}"
    against = (
        f"the noise between seeds, {100 * noise['sd']:.2f} points {interval(noise['interval'])}"
    )
    if is_known and gain["interval"][1] < noise["interval"][0]:
        yield (
            f"Stop searching this space: {gain['more']} more trials are expected to add "
            f"{expected}, if they are as good as the past ones; even the upper end is below "
            f"{against}, at its lowest."
        )
    elif gain["gain"] > noise["sd"]:
        total = search["complete"] + search["pruned"] + gain["more"]
        yield (
            f"Search on, with --trials {total}: {gain['more']} more trials are expected to add "
            f"{expected}, if they are as good as the past ones: more than {against}."
        )


def weakest_class(result: Mapping[str, Any]) -> Iterator[str]:
    """The class with the lowest accuracy, if chance alone does not explain how low it is."""
    confusion, classes = result["confusion"], result["dataset"]["classes"]
    name = "winner" if "winner" in confusion else "reference"
    rows = confusion[name]["after"]
    counts = [sum(row) for row in rows]
    scored = [i for i, n in enumerate(counts) if n]
    overall = sum(rows[i][i] for i in scored) / sum(counts)
    worst = min(scored, key=lambda i: (rows[i][i] / counts[i], i))
    right, n = rows[worst][worst], counts[worst]
    bounds = wilson(right / n, n, level=1 - 0.05 / len(scored))  # Bonferroni: it was picked
    if bounds[1] >= overall:
        return
    mistaken = max((i for i in range(len(rows)) if i != worst), key=lambda i: (rows[worst][i], -i))
    yield (
        f"Look at the images of {classes[worst]}, or collect more: after fine-tuning the {name} "
        f"is right on {right} of {n} of them, {percent(right / n)} {interval(bounds)} (interval "
        f"for the worst of {len(scored)} classes), and on {percent(overall)} of all; "
        f"{rows[worst][mistaken]} were taken for {classes[mistaken]}. Selected on: "
        f"{confusion['split']}, {confusion['part']} part, one replicate."
    )


def _outlook(result: Mapping[str, Any], key: str) -> Any:
    """A part of the outlook; None where it is unknown or the run's version had no outlook."""
    return result.get("outlook", {}).get(key)
