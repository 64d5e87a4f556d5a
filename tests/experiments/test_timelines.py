"""From the ends of trials to times to target, also where a search never got there."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from shiftsearch.experiments.benchmarks.time_to_target import OURS, PLAIN, compare
from shiftsearch.experiments.benchmarks.timelines import (
    Bounds,
    Ended,
    Timeline,
    bounds_of_time,
    incumbents_of,
    median_bounds,
    ratio,
    read_timeline,
    spread_of_bounds,
    time_to_target,
)

pytestmark = pytest.mark.unit

FIRST, WORSE, EQUAL, BETTER, BEST = (
    Ended(10.0, 0.90, 0.95),
    Ended(20.0, 0.80, 0.99),  # good on the held-out part, but the search cannot know
    Ended(30.0, 0.90, 0.99),
    Ended(40.0, 0.92, 0.98),
    Ended(50.0, 0.95, 0.96),  # overtakes by selection and is worse in truth
)
TIMELINE = Timeline([BEST, FIRST, BETTER, EQUAL, WORSE])


def test_incumbents_are_chosen_by_selection_alone_and_the_first_of_equals_stays() -> None:
    assert incumbents_of(TIMELINE) == [FIRST, BETTER, BEST]
    with pytest.raises(ValueError, match="at least one ended trial"):
        incumbents_of(Timeline([]))


@pytest.mark.parametrize(
    ("target", "seconds"), [(0.95, 10.0), (0.96, 40.0), (0.98, 40.0), (0.981, None)]
)
def test_the_first_incumbent_that_reaches_the_target_counts(
    target: float, seconds: float | None
) -> None:
    assert time_to_target(TIMELINE, target) == seconds


def test_a_target_never_reached_takes_longer_than_the_search() -> None:
    assert bounds_of_time(TIMELINE, 0.98) == (40.0, 40.0)
    assert bounds_of_time(TIMELINE, 0.99) == (50.0, math.inf)


@pytest.mark.parametrize(
    ("slow", "fast", "expected", "text"),
    [
        (Bounds(80, 80), Bounds(8, 8), (10, 10), "10.0"),
        (Bounds(80, math.inf), Bounds(8, 8), (10, math.inf), "> 10.0"),
        (Bounds(80, 80), Bounds(8, math.inf), (0, 10), "< 10.0"),
        (Bounds(80, math.inf), Bounds(8, math.inf), (0, math.inf), "unknown"),
    ],
    ids=["both", "slow-never", "fast-never", "neither"],
)
def test_a_ratio_says_no_more_than_is_known(
    slow: Bounds, fast: Bounds, expected: tuple[float, float], text: str
) -> None:
    found = ratio(slow, fast)
    assert found == expected
    assert found.text() == text


def test_the_median_of_bounds_is_known_where_the_unknown_cannot_move_it() -> None:
    above = Bounds(12, math.inf)
    assert median_bounds([Bounds(9, 9), Bounds(10, 10), above]) == (10, 10)
    assert median_bounds([Bounds(13, 13), Bounds(14, 14), above]) == (13, 14)
    assert spread_of_bounds([Bounds(9, 9), Bounds(10, 10), above]) == "10.0 (9.0 to > 12.0)"
    assert spread_of_bounds([Bounds(13, 13), Bounds(14, 14), above]) == (
        "13.0 to 14.0 (12.0 to 13.0 to > 14.0)"
    )


def test_a_trial_that_was_stopped_early_is_no_incumbent(tmp_path: Path) -> None:
    path = tmp_path / "timeline.json"
    whole = {"ended": 3.0, "selection": 0.8, "held_out": 0.7}
    stopped = {"ended": 2.0, "selection": 0.9, "held_out": None}
    path.write_text(json.dumps({"started": 0.0, "trials": [stopped, whole]}))
    assert read_timeline(path) == Timeline([Ended(3.0, 0.8, 0.7)])


def test_the_hard_target_is_the_median_of_the_plain_searches_last_incumbents(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def search(*trials: tuple[float, float]) -> Timeline:
        return Timeline([Ended(seconds, 0.5 + seconds / 1e4, held) for seconds, held in trials])

    plain = [
        search((100, 0.97), (800, 0.98)),
        search((200, 0.99), (900, 0.96)),  # its best was overtaken: 96 % is what it ends with
        search((300, 0.97), (700, 0.99)),
    ]
    ours = [
        search((20, 0.97), (80, 0.98)),
        search((25, 0.97), (50, 0.975)),
        search((30, 0.98)),
    ]
    figures = {f.name: f for f in compare({PLAIN: plain, OURS: ours})}
    assert figures["plain script: final incumbent, held out"].value.startswith("98.00%")
    hard = figures["how many times sooner ours is at 98.00%"]
    # Pairs: 800/80, 200 over more than 50, 700/30.
    assert hard.value == "10.0 (< 4.0 to 23.3)"
    assert hard.holds
    easy = figures["how many times sooner ours is at 97.00%"]
    # Pairs: 100/20, 200/25, 300/30.
    assert easy.value == "8.0 (5.0 to 10.0)"
    assert easy.holds
    assert "| seed 1 | 200 s | not reached within 50 s | < 4.0 |" in capsys.readouterr().out
