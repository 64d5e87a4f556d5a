"""How reliable a run's numbers are: the noise between seeds, and what more trials would add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.experiments.wording import counted, interval
from shiftsearch.search.judging.gain import Noise, expected_gain, indistinguishable, seed_noise
from shiftsearch.search.study.records import TrialRecord


def noise_between_seeds(candidates: Sequence[Candidate]) -> Noise | None:
    """How much the objective of a configuration differs from seed to seed.

    The report, its advice and `until_converged` all use this estimate. It is pooled over all
    configurations retrained under the run's own protocol, the reference included. Two other
    estimates are worse:

    - The best configuration alone has only one or two degrees of freedom. The root mean square
      error of the logarithm of its standard deviation is 1.3 with 2 replicates and 0.7 with 3. For
      the best and the reference together it is 0.7 and 0.4 to 0.5, if the reference is at most
      twice as noisy as the best. If it is three times as noisy, the error with 3 replicates is
      0.8. (Normal values, 200,000 draws.)
    - A second reading of the protocol (`also_fine_tune_on`) trains in another way, with another
      noise.

    The values from the search are left out, because they are the best of many.

    Args:
        candidates: the retrained configurations, the run's own protocol first.

    Returns:
        The noise; None if no configuration has two finished replicates.
    """
    return seed_noise([c.values for c in candidates if c.competes])


def outlook(trials: Sequence[TrialRecord], candidates: Sequence[Candidate]) -> dict[str, Any]:
    """The key `outlook` of `result.json`.

    Args:
        trials: the study's trials.
        candidates: the retrained configurations, the run's own protocol first.

    Returns:
        `noise` and `expected_gain`, None if unknown, and `indistinguishable`: trials whose
        difference from the best one retrained without a failure is within the noise.
    """
    noise = noise_between_seeds(candidates)
    compared = {c.number: c.values for c in candidates if c.competes and c.mean is not None}
    gain = expected_gain([t.value for t in trials if t.value is not None])
    return {
        "noise": None if noise is None else _json(noise),
        "expected_gain": None if gain is None else _json(gain),
        "indistinguishable": [] if noise is None else indistinguishable(compared, noise),
    }


def outlook_lines(result: Mapping[str, Any]) -> list[str]:
    """`outlook` in sentences; empty for a run concluded by a version without it."""
    if "outlook" not in result:
        return []
    found = result["outlook"]
    noise, gain, alike = (found[k] for k in ("noise", "expected_gain", "indistinguishable"))
    lines = ["Noise between seeds is unknown: no configuration has two replicates."]
    if noise is not None:
        lines = [
            f"Noise between seeds: standard deviation {_points(noise['sd'], noise['interval'])}, "
            f"{degrees_of_freedom(noise['degrees'])}."
        ]
        if alike:
            named = f"trial{'s' * (len(alike) > 1)} {', '.join(map(str, alike))}"
            lines += [
                f"This noise is too large to tell the best retrained configuration from {named}."
            ]
        elif len({c["number"] for c in result["retrain"]["candidates"]}) > 1:
            lines += [
                "Every other retrained configuration is worse than the best by more than this "
                "noise."
            ]
    if gain is None:
        return [
            *lines,
            "What more trials would gain is unknown: fewer than 5 trials are complete.",
        ]
    expected = _points(gain["gain"], gain["interval"])
    return [
        *lines,
        f"{gain['more']} more trials are expected to add {expected} to the search's best value, "
        "if they are as good as the past ones.",
    ]


def degrees_of_freedom(number: int) -> str:
    """`1 degree of freedom`, `2 degrees of freedom`."""
    return f"{counted(number, 'degree')} of freedom"


def beyond_seeds(result: Mapping[str, Any]) -> bool | None:
    """Whether winner and reference differ by more than the noise between seeds, or None."""
    found = result.get("outlook", {})
    if found.get("noise") is None:
        return None
    return result["reference"]["number"] not in found["indistinguishable"]


def _json(found: Any) -> dict[str, Any]:
    return {**asdict(found), "interval": list(found.interval)}


def _points(value: float, bounds: Sequence[float]) -> str:
    return f"{100 * value:.2f} points {interval(bounds)}"
