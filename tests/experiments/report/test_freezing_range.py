"""Whether the trials support the suggested number of frozen layers, and the advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from shiftsearch.experiments.report.freezing_range import (
    agrees,
    by_frozen,
    pasted,
    range_lines,
    search_range,
)
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord
from tests.experiments.protocol_results import complete, failed
from tests.experiments.report.made_analysis import made_analysis, made_probes

pytestmark = pytest.mark.unit

FROZEN = "fine_tune.frozen_layers"
SPACE = Space.parse({"fine_tune": {"frozen_layers": {"low": 0, "high": 4}}})
HIGH, NEAR, LOW = (0.95, 0.96, 0.97), (0.94, 0.96, 0.96), (0.80, 0.81, 0.82)


def trials(**by_count: Sequence[float]) -> list[TrialRecord]:
    """`f2=(0.9, 0.8)`: two trials with two frozen layers."""
    pairs = [(int(name[1:]), value) for name, values in by_count.items() for value in values]
    return [complete(i, value, **{FROZEN: count}) for i, (count, value) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({0: HIGH, 2: NEAR, 3: LOW}, True),
        ({0: NEAR, 3: HIGH}, False),  # the best is outside
        ({0: HIGH, 2: LOW}, False),  # clearly lower inside
        ({0: [0.9] * 3, 2: [0.8] * 3}, False),
        ({0: [0.9] * 3, 2: [0.9] * 3}, True),
        ({0: HIGH, 3: HIGH[:2]}, None),
        ({3: HIGH, 4: LOW}, None),
        ({}, None),
    ],
)
def test_trials_agree_if_the_best_number_is_inside_and_none_there_is_clearly_lower(
    values: dict[int, Sequence[float]], expected: bool | None
) -> None:
    assert agrees((0, 2), values) is expected


def test_complete_trials_that_freeze_from_the_input_count() -> None:
    made = trials(f2=(0.9, 0.8), f0=(0.7,))
    surgical = complete(8, 0.99)
    surgical = replace(
        surgical, configuration={**surgical.configuration, "fine_tune.freeze_from": "head"}
    )
    thawing = complete(9, 0.99, **{FROZEN: 4, "fine_tune.unfreezing": "gradual"})
    probing = complete(10, 0.6, **{FROZEN: 0, "fine_tune.unfreezing": "linear probe"})
    found = by_frozen([*made, surgical, thawing, probing, failed(11, "x")])
    assert found == {0: [0.7, 0.6], 2: [0.9, 0.8]}


def test_the_range_is_said_beside_what_the_search_found() -> None:
    made = trials(f0=HIGH, f2=NEAR, f3=LOW)
    lines = range_lines(made_probes(), made)
    assert "frozen_layers 0 to 2" in lines[0]
    assert "block 1 and block 3 and dense 512" not in lines[0]
    assert "block 1, block 3 and dense 512" in lines[0]
    assert "96.00 %, against 95.33 % with 2, 81.00 % with 3; 2 of the best 2 trials" in lines[1]
    assert lines[-1].endswith("space.fine_tune.frozen_layers: {low: 0, high: 2}.")
    (line,) = range_lines(made_probes(n=100), made)
    assert "100 images" in line
    assert len(range_lines(made_probes(), made[:3])) == 2


def test_a_narrower_range_is_advised_only_where_trials_agree() -> None:
    analysis, made = made_analysis("ab"), trials(f0=HIGH, f2=NEAR, f3=LOW)
    (sentence,) = search_range(made, SPACE, analysis)
    assert f"'space.{FROZEN}={{low: 0, high: 2}}'" in sentence
    assert not list(search_range(trials(f0=HIGH, f2=LOW), SPACE, analysis))
    assert not list(search_range(trials(f0=HIGH), SPACE, analysis))
    assert not list(search_range(made, SPACE, None))
    few = replace(analysis, probes=made_probes(n=100))
    assert not list(search_range(made, SPACE, few))
    for raw in ({"low": 0, "high": 2}, {"low": 3, "high": 4}, 2, {"choices": [0, 3]}):
        space = Space.parse({"fine_tune": {"frozen_layers": raw}})
        assert not list(search_range(made, space, analysis))


def test_the_advised_value_is_one_that_the_space_takes() -> None:
    assert pasted((0, 0)) == "0"
    assert pasted((0, 3)) == "{low: 0, high: 3}"
