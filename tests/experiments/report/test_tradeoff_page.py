"""The page of a run with constraints and several objectives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shiftsearch.experiments.report.page import write_report
from tests.experiments.protocol_results import failed, finished_run
from tests.experiments.report.test_page import SPACE, Page

pytestmark = [
    pytest.mark.unit,
    pytest.mark.slow(reason="draws all figures of a page"),
]

REASON = "has 9,000,000 parameters, but constraints.max_parameters is 1,000,000"


def test_the_page_shows_the_front_and_what_was_refused(tmp_path: Path) -> None:
    result, trials = finished_run()
    costs = [{"parameters": 1000 * (1 + t.number), "multiply_adds": 7} for t in trials]
    trials = [replace(t, costs=c) for t, c in zip(trials, costs, strict=True)]
    refused = replace(failed(len(trials), REASON), state="refused", infeasible=True)
    objectives = ["test2_accuracy", "parameters"]
    points = [
        {"number": 17, "test2_accuracy": 0.9722, "parameters": 18_000, "mean": 0.9617},
        {"number": 0, "test2_accuracy": 0.8151, "parameters": 1000, "mean": None},
    ]
    result |= {
        "front": {"objectives": objectives, "points": points},
        "constraints": {"max_parameters": 10**6, "refused": 1, "reference": [REASON]},
    }
    for candidate, count in zip(result["retrain"]["candidates"], (1000, 18_000), strict=True):
        candidate["costs"] = {"parameters": count}
    path = tmp_path / "report.html"
    assert write_report(result, [*trials, refused], SPACE, None, path) == []
    page = Page(path.read_text())
    assert (3, "Pareto front") in page.headings
    assert (3, "Refused configurations") in page.headings
    assert "17 97.22 % 96.17 % 18,000 0 81.51 % - 1,000" in page.text.replace("\xa0", " ")
    assert f"{refused.number} {REASON}" in page.text
    assert "The reference configuration has 9,000,000 parameters" in page.text
    assert "winner fine-tuned on TEST 18,000 parameters" in page.text
    history = next(str(alt) for alt in page.alts if str(alt).startswith("Search history"))
    assert "2 trials without one" in history  # one failed and one waits; the refused is none
