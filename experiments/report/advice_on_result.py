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
"""A needed number of images is only given up to this multiple of the present number."""
_SAVES = 0.1
_ENOUGH = 20
"""Least number of complete trials for the advice to stop, the same as for `until_converged`."""


def which_to_use(result: Mapping[str, Any]) -> Iterator[str]:
    """Whether to use the winner or the reference configuration, by their paired interval."""
    found = result["comparison"]
    if found is None:
        return
    low, high = found["interval"]
    where = f"on {found['n']} images of TEST2's {found['part']} part"
    if found["part"] != "held-out":
        where += ", on which it was selected, so the difference is too favourable"
    difference = points(found["difference"], found["interval"])
    number = result["winner"]["number"]
    if low > 0 and beyond_seeds(result) is False:
        return  # `cheaper_alike` gives this advice
    if low > 0:
        known = "" if beyond_seeds(result) else "; the noise between seeds is unknown"
        yield (
            f"Use the winner, trial {number}: {difference} over the reference configuration "
            f"{where}{known}."
        )
    elif high < 0:
        yield f"Keep the reference configuration: the winner is {difference} {where}."
    else:
        yield (
            f"Keep the reference configuration until more is known: trial {number}, the winner, "
            f"is {difference} {where}, and the interval contains 0."
        )


def images_needed(result: Mapping[str, Any]) -> Iterator[str]:
    """How many images would tell winner and reference apart, if the measured difference is right.

    The half width h of the interval falls with the square root of the number n of images. It
    equals the difference d at n (h / d)^2 images. Then the interval excludes 0 in half of all
    repetitions.
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
        f"To tell winner and reference apart, score them on about {n} images instead of "
        f"{found['n']}. The interval now extends {100 * (high - low) / 2:.2f} points to each side "
        f"and narrows with the square root of n. With {found['n']} x {ratio:.2f}^2 images it "
        f"extends as far as the measured difference, {100 * found['difference']:.2f} points. Even "
        "if that difference is right, only every second such interval excludes 0."
    )


def cheaper_alike(result: Mapping[str, Any], trials: Sequence[TrialRecord]) -> Iterator[str]:
    """Which configuration to use if some cannot be told apart because of the noise.

    The reference if it is one of them, else the one that trains fastest.
    """
    alike, noise = _outlook(result, "indistinguishable"), _outlook(result, "noise")
    if not alike or noise is None:
        return
    winner, reference = result["winner"]["number"], result["reference"]["number"]
    group = sorted({winner, *alike})
    named = ", ".join(map(str, group[:-1])) + f" and {group[-1]}"
    why = (
        f"the noise between seeds (standard deviation {100 * noise['sd']:.2f} points, "
        f"{degrees_of_freedom(noise['degrees'])}) is too large to tell trials {named} apart"
    )
    if reference in alike:
        replicates = counted(result["retrain"]["replicates"], "replicate")
        is_better = result["comparison"] is not None and result["comparison"]["interval"][0] > 0
        yield (
            f"Retrain with more than {replicates} before relying on the winner: it is better than "
            f"the reference configuration, trial {reference}, on these images, but {why}."
            if is_better
            else f"Prefer the reference configuration, trial {reference}: {why}."
        )
        return
    took = {t.number: _seconds(t.result) for t in trials if t.number in group and t.result}
    if winner not in took or len(took) < len(group):
        return
    fastest = min(took, key=lambda number: (took[number], number))
    if took[fastest] > (1 - _SAVES) * took[winner]:
        return
    yield (
        f"If training time matters, prefer trial {fastest}: {why}, and both stages took "
        f"{duration(took[fastest])}, against {duration(took[winner])} for trial {winner}."
    )


def _seconds(result: ProtocolResult) -> float:
    """Time of both stages, also if the baseline is shared, because a new training needs both."""
    return result.baseline.seconds + result.fine_tune.seconds


def search_flattered(result: Mapping[str, Any]) -> Iterator[str]:
    """How much better the winner's value in the search was than its new replicates."""
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
        f"{winner['number']} had {percent(winner['search_value'])} in the search, but "
        f"{percent(winner['mean'])} as the mean of {replicates}, {100 * drop:.2f} points less."
    )


def more_trials(result: Mapping[str, Any]) -> Iterator[str]:
    """Whether more trials of this search would gain more than the noise between seeds.

    Never advises to stop after few trials, or if the best values are equal and below 1. Then the
    estimated gain is 0 only because there is nothing to estimate it from.
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
            f"{expected}, if they are as good as the past ones; even the upper end is below the "
            f"lower end for {against}."
        )
    elif gain["gain"] > noise["sd"]:
        total = search["complete"] + search["pruned"] + gain["more"]
        yield (
            f"Continue the search with --trials {total}: {gain['more']} more trials are expected "
            f"to add {expected}, if they are as good as the past ones; this is above {against}."
        )


def weakest_class(result: Mapping[str, Any]) -> Iterator[str]:
    """The class with the lowest accuracy, if its accuracy is lower than chance explains."""
    confusion, classes = result["confusion"], result["dataset"]["classes"]
    name = "winner" if "winner" in confusion else "reference"
    rows = confusion[name]["after"]
    counts = [sum(row) for row in rows]
    scored = [i for i, n in enumerate(counts) if n]
    overall = sum(rows[i][i] for i in scored) / sum(counts)
    worst = min(scored, key=lambda i: (rows[i][i] / counts[i], i))
    right, n = rows[worst][worst], counts[worst]
    bounds = wilson(right / n, n, level=1 - 0.05 / len(scored))  # Bonferroni, for the worst class
    if bounds[1] >= overall:
        return
    mistaken = max((i for i in range(len(rows)) if i != worst), key=lambda i: (rows[worst][i], -i))
    yield (
        f"Look at the images of class {classes[worst]}, or collect more: after fine-tuning the "
        f"{name} is right on {right} of {n} of them, {percent(right / n)} {interval(bounds)} "
        f"(interval for the worst of {len(scored)} classes), against {percent(overall)} of all "
        f"images; {rows[worst][mistaken]} were predicted as class {classes[mistaken]} "
        f"({confusion['split']}, {confusion['part']} part, "
        f"{confusion.get('label', 'selected on')}, one replicate)."
    )


def _outlook(result: Mapping[str, Any], key: str) -> Any:
    """A part of the outlook; None if it is unknown or the run's version had no outlook."""
    return result.get("outlook", {}).get(key)
