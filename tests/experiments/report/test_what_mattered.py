"""The figures of what mattered hold the numbers they draw, for readers who do not see them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from shiftsearch.experiments.report.figures.coordinates import (
    MAX_COORDINATES,
    parallel_coordinates,
)
from shiftsearch.experiments.report.figures.scales import Scale
from shiftsearch.experiments.report.figures.what_mattered import (
    importance_bars,
    shown_first,
    slices,
)
from shiftsearch.search.judging.importance import Importance, ParameterImportance
from shiftsearch.search.proposing.space import REFERENCE, Space
from shiftsearch.search.study.records import TrialRecord
from tests.experiments.protocol_results import branch, complete, failed
from tests.experiments.report.test_figures import parse, texts

pytestmark = pytest.mark.unit

RATE, FROZEN, BATCH = "fine_tune.learning_rate", "fine_tune.frozen_layers", "baseline.batch_size"
SPACE = Space.parse(
    {
        FROZEN: {"low": 0, "high": 4},
        BATCH: {"choices": [32, 256]},
        RATE: {"low": 1e-4, "high": 1e-2, "log": True},
        "fine_tune.dropout": {"low": 0.0, "high": 0.6, "step": 0.2},
    }
)
TRIALS = [
    complete(0, 0.80, role="reference"),
    *(complete(n, 0.80 + 0.02 * n, **{RATE: 0.001 * n, FROZEN: 1, BATCH: 32}) for n in (1, 2, 3)),
    branch(4, 0.9, root=0),
    failed(5, "training loss nan"),
]


def test_importance_bars_tell_what_stands_out_from_chance() -> None:
    shares = (
        ParameterImportance(RATE, 0.6, (0.4, 0.7), 0.3, 40),
        ParameterImportance(BATCH, 0.4, (0.1, 0.45), 0.65, 8),
    )
    root = parse(importance_bars(Importance(shares, 40, 21, 8, 1)))
    assert root.get("aria-label") == (
        "Importances of the hyperparameters for the difference between the better 21 and all of "
        "40 trials of 8 baselines, with 95 % intervals: fine_tune.learning_rate 60.00 % "
        "[40.00, 70.00], limit of chance 30.00 %, n = 40, stands out; baseline.batch_size "
        "40.00 % [10.00, 45.00], limit of chance 65.00 %, n = 8."
    )
    assert {"importance, stands out", "importance, within chance"} <= set(texts(root))
    assert "baseline.batch_size (n = 8)" in texts(root)


def test_slices_put_learning_rates_dropout_and_frozen_layers_first() -> None:
    assert shown_first(SPACE) == [RATE, "fine_tune.dropout", FROZEN, BATCH]


def test_slices_say_best_quarter_and_winner() -> None:
    root = parse(slices(TRIALS, SPACE, [RATE, FROZEN], winner=3))
    assert root.get("aria-label") == (
        "TEST2 accuracy of 5 trials, 80.00 % to 90.00 %, against 2 hyperparameters. The middle "
        "half of the best 1 has: fine_tune.learning_rate 0.0001, the winner 0.003; "
        "fine_tune.frozen_layers 2, the winner 1."
    )
    legend = {"own baseline", "shared baseline", "reference", "winner", "failed, no accuracy"}
    assert legend <= set(texts(root))
    assert {"0.0001", "0.001", "0.01"} <= set(texts(root))


def test_parallel_coordinates_say_what_the_best_went_with() -> None:
    root = parse(parallel_coordinates(TRIALS, SPACE, [RATE, FROZEN], winner=3))
    assert root.get("aria-label") == (
        "Parallel coordinates of 5 trials over 2 of 2 hyperparameters and TEST2 accuracy, "
        "80.00 % to 90.00 %. The middle half of the best 1 has: fine_tune.learning_rate "
        "0.0001; fine_tune.frozen_layers 2."
    )
    assert {"winner", "reference", "the best 1", "other trials"} <= set(texts(root))


def test_of_many_trials_some_are_drawn_and_always_winner_and_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shiftsearch.experiments.report.figures.thinning.MOST", 2)
    refused = [replace(failed(n, "x"), state="refused") for n in range(6, 20)]
    for draw in (slices, parallel_coordinates):
        root = parse(draw([*TRIALS, *refused], SPACE, [RATE, FROZEN], winner=3))
        assert re.search("5 trials, [234] of them drawn,", root.get("aria-label") or "")
        assert {"winner", "reference"} <= set(texts(root))


def test_many_hyperparameters_and_one_trial_have_room() -> None:
    names = [name for name in REFERENCE if "augmentation" in name or "dropout" in name]
    space = Space.parse({name: {"low": 0.0, "high": 0.5} for name in names[:11]})
    one: list[TrialRecord] = [complete(0, 0.8)]
    alt = parse(parallel_coordinates(one, space, shown_first(space), 0)).get("aria-label") or ""
    assert f"over {MAX_COORDINATES} of 11" in alt
    assert "against 11" in slices(one, space, shown_first(space), 0)


def test_scales_spread_equal_values_and_name_the_ends() -> None:
    steps = Scale(SPACE.distributions["fine_tune.dropout"])
    places = {round(steps.spread(0.2, number), 6) for number in range(50)}
    assert len(places) == 50
    assert all(1 / 6 <= place <= 1 / 2 for place in places)  # half of the gap to each side
    ends = [steps.spread(end, number) for end in (0.0, 0.6) for number in range(50)]
    assert 0 <= min(ends) < max(ends) <= 1  # beyond are only values outside of the domain
    assert len({round(place, 6) for place in ends}) == 100
    assert steps.spread(0.8, 7) == pytest.approx(4 / 3)
    assert steps.ticks(3) == ([0.0, pytest.approx(2 / 3), 1.0][::2], ["0", "0.6"])
    rate = Scale(SPACE.distributions[RATE])
    assert rate.place(1e-3) == pytest.approx(0.5)
    assert rate.place(1e-5) == pytest.approx(-0.5)
    assert rate.spread(1e-3, 7) == rate.place(1e-3)
    assert Scale(SPACE.distributions[BATCH]).place(64) == 0.0
