"""Each rule on the final numbers gives advice in a case that supports it, and else nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shiftsearch.experiments.report.advice_on_result import (
    cheaper_alike,
    images_needed,
    more_trials,
    search_flattered,
    weakest_class,
    which_to_use,
)
from tests.experiments.protocol_results import complete, confusion, finished_run

pytestmark = pytest.mark.unit


def result_with(**changes: Any) -> dict[str, Any]:
    result, _ = finished_run()
    return result | changes


def comparison(difference: float, low: float, high: float, part: str = "held-out") -> Any:
    return {"part": part, "n": 500, "difference": difference, "interval": [low, high]}


def outlook(sd: float, gain: float, high: float, alike: tuple[int, ...] = ()) -> dict[str, Any]:
    return {
        "noise": {"sd": sd, "degrees": 4, "interval": [sd / 2, 2 * sd]},
        "expected_gain": {"more": 20, "gain": gain, "interval": [gain / 2, high]},
        "indistinguishable": list(alike),
    }


@pytest.mark.parametrize(
    ("low", "high", "begins"),
    [
        (0.01, 0.05, "Use the winner, trial 17: +2.00 points [+1.00, +5.00]"),
        (-0.05, -0.01, "Keep the reference configuration: the winner is"),
        (-0.01, 0.05, "Keep the reference configuration until more is known"),
    ],
)
def test_which_to_use_follows_the_interval(low: float, high: float, begins: str) -> None:
    (said,) = which_to_use(result_with(comparison=comparison(0.02, low, high)))
    assert said.startswith(begins)
    assert "on 500 images" in said
    assert "too favourable" not in said
    (on_selection,) = which_to_use(
        result_with(comparison=comparison(0.02, low, high, "selection"))
    )
    assert "too favourable" in on_selection


def test_the_winner_is_not_advised_where_seeds_could_turn_the_verdict() -> None:
    better = comparison(0.02, 0.01, 0.05)
    alike = outlook(0.02, 0.002, 0.008, (0,))
    assert list(which_to_use(result_with(comparison=better, outlook=alike))) == []
    (said,) = which_to_use(result_with(comparison=better, outlook=alike | {"noise": None}))
    assert said.endswith("; the noise between seeds is unknown.")


def test_images_needed_grow_with_the_square_of_width_over_difference() -> None:
    (said,) = images_needed(result_with(comparison=comparison(0.01, -0.01, 0.03)))
    assert "about 2000 images instead of 500" in said
    assert "2.00 points" in said
    assert "1.00 points" in said
    assert "500 x 2.00^2" in said
    for told in (comparison(0.02, 0.01, 0.03), comparison(-0.01, -0.03, 0.01)):
        assert list(images_needed(result_with(comparison=told))) == []
    # A difference of nothing is no reason to collect 5000000 images.
    assert list(images_needed(result_with(comparison=comparison(1e-4, -0.01, 0.0102)))) == []


def test_cheaper_alike_prefers_the_reference_then_the_faster() -> None:
    _, trials = finished_run()
    slow = complete(17, 0.97)
    assert slow.result is not None
    baseline = replace(slow.result.baseline, seconds=60)
    slow = replace(slow, result=replace(slow.result, baseline=baseline))
    timed = [*trials[:17], slow]
    told = result_with(outlook=outlook(0.01, 0.0, 0.001, (1,)))
    (said,) = cheaper_alike(told, timed)
    assert "prefer trial 1:" in said
    assert "trials 1 and 17" in said
    assert "32 s, against 1 min 18 s for trial 17" in said
    assert list(cheaper_alike(told, trials)) == []  # as fast as the winner
    assert list(cheaper_alike(result_with(outlook=outlook(0.01, 0, 0.1)), timed)) == []
    known = outlook(0.01, 0.0, 0.001, (0,))
    (said,) = cheaper_alike(result_with(outlook=known, comparison=comparison(0, -0.1, 0.1)), timed)
    assert said.startswith("Prefer the reference configuration, trial 0")
    (said,) = cheaper_alike(result_with(outlook=known), timed)  # images tell them apart
    assert said.startswith("Retrain with more than 3 replicates")


def test_search_flattered_quotes_a_drop_above_the_noise_alone() -> None:
    (said,) = search_flattered(result_with())  # 97.22 % in the search, 96.17 % after; noise 0.71
    assert "97.22 % in the search" in said
    assert "96.17 % as the mean of 3 new replicates, 1.05 points" in said
    assert list(search_flattered(result_with(outlook=outlook(0.02, 0, 0)))) == []


def test_more_trials_only_where_gain_and_noise_are_apart() -> None:
    old = result_with()["search"] | {"complete": 20}
    (stop,) = more_trials(result_with(outlook=outlook(0.02, 0.002, 0.008), search=old))
    assert stop.startswith("Stop searching this space: 20 more trials are expected to add 0.20")
    young = old | {"complete": 19}
    assert list(more_trials(result_with(outlook=outlook(0.02, 0.002, 0.008), search=young))) == []
    unsure = result_with(outlook=outlook(0.01, 0.002, 0.008), search=old)
    assert list(more_trials(unsure)) == []  # above what the noise may be, 0.005
    # The best values are equal: a gain of 0 is no knowledge, unless nothing is left to gain.
    equal = result_with(outlook=outlook(0.01, 0, 0), search=old)
    assert list(more_trials(equal)) == []
    perfect = result_with(outlook=outlook(0.01, 0, 0), search=old | {"best_value": 1.0})
    assert len(list(more_trials(perfect))) == 1
    (on,) = more_trials(result_with(outlook=outlook(0.001, 0.004, 0.01)))
    assert "--trials 37:" in on
    assert list(more_trials(result_with(outlook=outlook(0.005, 0.004, 0.01)))) == []


def test_weakest_class_is_named_when_chance_does_not_explain_it() -> None:
    rows = confusion(6, 87)
    assert list(weakest_class(result_with())) == []  # all alike
    rows[2][2], rows[2][5] = 60, 27
    matrices = {"winner": {"after": rows}, "split": "TEST2", "part": "selection"}
    (said,) = weakest_class(result_with(confusion=matrices))
    assert "images of class 2, or collect more" in said
    assert "60 of 90 of them, 66.67 % [52.78, " in said
    assert "27 were predicted as class 5" in said
