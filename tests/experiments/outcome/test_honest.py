"""Honest numbers: the best of many looks too good where it was chosen, and nowhere else."""

from __future__ import annotations

import json
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from shiftsearch.experiments.outcome.honest import honest_lines, judged
from shiftsearch.experiments.outcome.judged import optimism
from shiftsearch.search.study.records import best_trials
from tests.experiments.protocol_results import complete

pytestmark = pytest.mark.unit

RIGHT, SELECT, HOLD = 0.9, 540, 543


def images(right: int, n: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return (np.arange(n) < right).astype(np.float64)


def test_a_row_by_hand() -> None:
    row = judged("model", 1, images(90, 100), images(160, 200))
    assert (row.selected_on.n, row.selected_on.accuracy) == (100, 0.9)
    assert row.held_out is not None
    assert (row.held_out.n, row.held_out.accuracy) == (200, 0.8)
    assert (row.all.n, row.all.accuracy) == (300, pytest.approx(250 / 300))
    assert row.optimism is not None
    value, (low, high) = row.optimism
    # Wilson: [0.8256, 0.9448] and [0.7391, 0.8496].
    assert value == pytest.approx(0.1)
    assert low == pytest.approx(0.1 - np.hypot(0.0744, 0.0496), abs=2e-4)
    assert high == pytest.approx(0.1 + np.hypot(0.0448, 0.0609), abs=2e-4)
    assert json.loads(json.dumps(row.to_json()))["optimism"] == {
        "value": value,
        "interval": [low, high],
    }


def test_without_held_out_images_nothing_is_claimed_about_them() -> None:
    row = judged("winner", 3, images(90, 100), None)
    assert (row.held_out, row.optimism) == (None, None)
    assert row.all == row.selected_on
    [line] = honest_lines({"numbers": [row.to_json()]})
    assert "held out" not in line
    assert honest_lines({}) == []


def test_the_lines_have_all_numbers() -> None:
    row = judged("winner", 3, images(90, 100), images(160, 200)).to_json()
    [line] = honest_lines({"numbers": [row]})
    for number in ("90.00 %", "of 100", "80.00 %", "of 200", "83.33 %", "of 300", "+10.00 points"):
        assert number in line


def test_what_was_scored_out_of_fold_is_named_so() -> None:
    row = judged("winner", 3, images(90, 100), images(160, 200), "out of fold").to_json()
    assert row["label"] == "out of fold"
    [line] = honest_lines({"numbers": [row]})
    assert "out of fold 90.00 %" in line
    assert "selected on" not in line
    assert "label" not in judged("winner", 3, images(90, 100), None).to_json()


def test_the_optimism_of_a_model_is_that_of_the_same_numbers() -> None:
    row = judged("model", 1, images(90, 100), images(160, 200)).to_json()
    found = optimism(row["selected_on"], row["held_out"])
    assert found == {
        "difference": row["optimism"]["value"],
        "interval": row["optimism"]["interval"],
    }


def test_the_best_of_100_equal_ones_is_flattered_where_it_was_selected_and_not_held_out() -> None:
    """Every configuration is right on 90 % of all images; the search ranks them by the sample."""
    draw, searches = np.random.default_rng(0), 200
    records = [complete(n, 0.5) for n in range(100)]
    selected_on, held_out, optimism, covered = [], [], [], 0
    for _ in range(searches):
        counts = draw.binomial(SELECT, RIGHT, 100)
        trials = [replace(t, value=c / SELECT) for t, c in zip(records, counts, strict=True)]
        best = best_trials(trials, 1)[0].number
        other = images(draw.binomial(HOLD, RIGHT), HOLD)
        row = judged("winner", 1, images(counts[best], SELECT), other)
        assert row.held_out is not None
        assert row.optimism is not None
        selected_on.append(row.selected_on.accuracy)
        held_out.append(row.held_out.accuracy)
        optimism.append(row.optimism[0])
        plain = judged("any", 1, images(counts[0], SELECT), other)  # was not selected
        assert plain.optimism is not None
        covered += plain.optimism[1][0] <= 0 <= plain.optimism[1][1]
    # The expected maximum of 100 normals is 2.508 standard deviations (Tippett 1925).
    sd = (RIGHT * (1 - RIGHT) / SELECT) ** 0.5
    assert np.mean(selected_on) - RIGHT == pytest.approx(2.508 * sd, rel=0.1)
    assert np.mean(optimism) == pytest.approx(2.508 * sd, rel=0.15)
    error = NormalDist().inv_cdf(0.9995) * (RIGHT * (1 - RIGHT) / HOLD / searches) ** 0.5
    assert abs(np.mean(held_out) - RIGHT) < error
    assert covered / searches == pytest.approx(0.95, abs=0.04)
