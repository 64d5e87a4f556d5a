"""The box at the top: the verdict follows the interval, the lines name the person's network."""

from __future__ import annotations

from typing import Any

import pytest

from shiftsearch.experiments.report.top import changed, model_view, use_view, verdict
from shiftsearch.search.study.records import TrialRecord
from tests.experiments.protocol_results import complete, finished_run, reference_only

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("interval", "alike", "expected"),
    [
        ([0.1, 0.2], [], "The winner, trial 17, is better"),
        ([0.1, 0.2], [0], "The winner, trial 17, is better .*, but within the noise"),
        ([0.0, 0.2], [], "Neither the winner, trial 17, nor the reference"),
        ([-0.2, -0.1], [], "The reference configuration is better than the winner, trial 17,"),
    ],
)
def test_the_verdict_follows_the_interval(
    interval: list[float], alike: list[int], expected: str
) -> None:
    result, _ = finished_run()
    result["comparison"]["interval"] = interval
    result["outlook"]["indistinguishable"] = alike
    said = verdict(result)
    before, _, after = expected.partition(".*")
    assert said.startswith(before)
    assert after in said
    assert ("within the noise" in said) == bool(alike)


def test_without_a_comparison_the_verdict_says_why() -> None:
    result, _ = reference_only()
    assert verdict(result) == "Only the reference configuration was run: nothing to compare with."


def test_only_values_that_differ_are_listed() -> None:
    lines = [{"name": n, "reference": 1, "winner": w} for n, w in (("a", 1), ("b", 2), ("c", 1))]
    assert changed(lines) == {"differ": [lines[1]], "same": 2}


def test_the_lines_name_the_person_s_own_network() -> None:
    result: dict[str, Any] = {
        "winner": {"configuration": {"network.source": "my.nets:tiny@0123abcd"}},
        "exported": {"bundle": "best"},
    }
    view = use_view(result)
    assert view["option"] == " --network my.nets:tiny"
    assert view["argument"] == ", network=tiny"
    result["winner"]["configuration"] = {}
    assert use_view(result) == {"bundle": "best", "option": "", "argument": ""}


def test_the_model_s_size_and_speed_are_those_of_its_trial() -> None:
    result, _ = finished_run()
    costs = {"parameters": 422_000.0, "multiply_adds": 4.2e6, "latency_ms": 0.51}
    other: TrialRecord = complete(3, 0.9)
    trial = complete(17, 0.97)
    object.__setattr__(trial, "costs", costs)
    assert model_view(result, [other, trial])["costs"] == costs
    assert model_view(result, [])["why"] == result["model"]["reason"]
    ensemble = {"kind": "ensemble", "forward_passes": 3, "checked": {"rule": 0.98, "single": 0.97}}
    del result["model"]["reason"]
    result["model"] |= ensemble
    why = model_view(result, [])["why"]
    assert all(part in why for part in ("98.00 %", "97.00 %", "3 forward passes"))
    del result["model"]  # of an earlier version
    view = model_view(result, [other])
    assert (view["what"], view["costs"], view["model"]) == ("trial 17, replicate 2", {}, None)
