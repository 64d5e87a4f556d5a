"""What the benchmarks make of their measurements."""

from __future__ import annotations

import pytest

from shiftsearch.experiments.benchmarks.synthetic_bands import gain
from shiftsearch.experiments.benchmarks.turns import Figure, in_turns, print_figures
from shiftsearch.experiments.outcome.statistics import mean_interval

pytestmark = pytest.mark.unit


def test_sides_take_turns() -> None:
    calls: list[str] = []

    def side(name: str) -> int:
        calls.append(name)
        return len(calls)

    results = in_turns({"a": lambda turn: side(f"a{turn}"), "b": lambda turn: side(f"b{turn}")}, 2)
    assert calls == ["a0", "b0", "a1", "b1"]
    assert results == {"a": [1, 3], "b": [2, 4]}


def test_interval_of_a_mean_is_students() -> None:
    # Standard deviation 1, n = 3; the table's t at 97.5 % with 2 degrees of freedom is 4.303.
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    half = 4.303 / 3**0.5
    assert (mean, low, high) == pytest.approx((2.0, 2 - half, 2 + half), abs=1e-3)


def test_a_broken_bound_is_named_and_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    kept = Figure("speed", "4.0", "5 turns", "at least 3.5", True)
    assert print_figures([kept]) == 0
    assert print_figures([kept, Figure("ratio", "1.30", "3 pairs", "at most 1.10", False)]) == 1
    captured = capsys.readouterr()
    assert "| speed | 4.0 | 5 turns | at least 3.5 | holds |" in captured.out
    assert captured.err == "broken: ratio: 1.30, but must be at most 1.10\n"


@pytest.mark.parametrize(
    ("difference", "low", "part", "holds"),
    [
        (0.03, 0.01, "held-out", True),
        (0.03, -0.01, "held-out", False),
        (0.015, 0.01, "held-out", False),
        (0.03, 0.01, "selection", False),
    ],
)
def test_a_gain_counts_when_large_certain_and_held_out(
    difference: float, low: float, part: str, holds: bool
) -> None:
    comparison = {"part": part, "n": 600, "difference": difference, "interval": [low, 0.05]}
    assert gain(0, {"comparison": comparison}).holds is holds


def test_no_gain_when_the_reference_wins() -> None:
    assert not gain(0, {"comparison": None}).holds
