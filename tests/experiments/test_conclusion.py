"""The end of a search, with untrained networks: looks are counted first, the result once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.conclusion import Conclusion
from shiftsearch.experiments.definition import build
from shiftsearch.experiments.outcome.looks import looks_so_far
from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.bundle import load_bundle
from shiftsearch.model.device import Device
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.study.records import TrialRecord
from tests.experiments.protocol_results import branch, complete, finished_run
from tests.experiments.stored_networks import always, retrained

pytestmark = pytest.mark.unit

CIRCUMSTANCES = {
    "command": "shiftsearch search",
    "reasons": ["a"],
    "warnings": [],
    "seconds": 1.0,
    "stopped": "the budget is spent",
}
A, B, C = (always(label, 6, (28, 28)) for label in range(3))


class Searched:
    """The part of `search.study.study.Study` that `Conclusion` uses."""

    def __init__(self, *records: TrialRecord) -> None:
        self._records = records

    def trials(self) -> list[TrialRecord]:
        return list(self._records)

    def trial(self, number: int) -> TrialRecord:
        return next(record for record in self._records if record.number == number)

    @property
    def gate(self) -> Any:
        return SimpleNamespace(machines=[])


class Retrained:
    """What `Conclusion` uses of `experiments.outcome.retrain.Retraining`; the last one wins."""

    def __init__(self, *candidates: Candidate) -> None:
        self._candidates = candidates

    def candidates(self) -> list[Candidate]:
        return list(self._candidates)

    def winner(self) -> Candidate:
        return self._candidates[-1]

    def fingerprint(self) -> str:
        return "of what was retrained"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture
def conclusion(run: Run, tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Conclusion:
    """A conclusion for the reference and trial 17, each retrained twice."""
    device = Device("cpu", "float32", 1, "tests")
    monkeypatch.setattr("shiftsearch.experiments.conclusion.choose_device", lambda: device)
    better = {"fine_tune.frozen_layers": 0}
    found = []
    for number, changes in ((0, {}), (17, better)):
        candidate = retrained(run.store, {1: (C, A), 2: (C, B)}, number)
        found.append(replace(candidate, configuration={**candidate.configuration, **changes}))
    sampled = [complete(1, 0.55), complete(2, 0.6), branch(3, 0.65, root=2)]
    records = [complete(0, 0.5, role="reference"), *sampled, complete(17, 0.75, **better)]
    study: Any = Searched(*map(timed, records))
    retraining: Any = Retrained(*found)
    experiment = build({}, "tests")
    return Conclusion(experiment, run, tiny_dataset, study, retraining, CIRCUMSTANCES)


def timed(record: TrialRecord) -> TrialRecord:
    """With stages of 1.5 s under keys of their own; a branch has the baseline of its root."""
    assert record.result is not None
    baseline = replace(record.result.baseline, key=f"b{record.root}-0009", seconds=1.5)
    fine_tune = replace(record.result.fine_tune, key=f"f{record.number}-0012", seconds=1.5)
    return replace(record, result=ProtocolResult(baseline, fine_tune))


def shape(value: object) -> object:
    """The names in a JSON value at all depths; only the first item of a list is used."""
    if isinstance(value, Mapping):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1] if isinstance(item, Mapping | list)]
    return None


def test_the_result_has_the_shape_that_the_report_is_tested_on_and_is_reached_once(
    conclusion: Conclusion, run: Run
) -> None:
    result = conclusion.conclude()
    assert result is not None
    expected, _ = finished_run()
    assert shape(result) == shape(expected)
    assert result["search"]["trial_seconds"] == 13.5  # the shared baseline once
    assert result["search"]["stopped"] == "the budget is spent"
    assert result["outlook"]["indistinguishable"] == [17]  # equal in every replicate
    roles = [(c["number"], c["role"]) for c in result["retrain"]["candidates"]]
    assert roles == [(0, "reference"), (17, "winner")]
    assert result["exported"] == {"number": 17, "replicate": 1, "bundle": "best"}
    bundle = load_bundle(run.bundle)
    assert (bundle.record.study.number, bundle.record.study.replicate) == (17, 1)
    assert bundle.weights["after"]["head.bias"].tolist() == A["head.bias"].tolist()
    assert bundle.weights["before"]["head.bias"].tolist() == C["head.bias"].tolist()
    assert result["held_out_looks"] == looks_so_far(run.looks)
    assert len(looks_so_far(run.looks)) == 8
    assert json.loads(run.result.read_text()) == result
    assert conclusion.conclude() == result
    assert len(looks_so_far(run.looks)) == 8


def test_more_trials_are_concluded_anew_though_the_same_number_was_asked_for(
    conclusion: Conclusion,
) -> None:
    """A spent budget ended the first call; the same configurations were retrained."""
    first = conclusion.conclude()
    further = timed(complete(4, 0.6))
    trials = conclusion.study.trials()
    more: Any = Searched(*trials[:4], further, trials[4])
    conclusion.study = more
    second = conclusion.conclude()
    assert first is not None
    assert second is not None
    assert (first["search"]["complete"], second["search"]["complete"]) == (5, 6)


def test_looks_are_counted_before_they_are_taken(conclusion: Conclusion, run: Run) -> None:
    """Scoring fails because weights are missing, after it has looked at replicate 1."""
    lost = conclusion.candidates[0].results[2].baseline.course
    run.store.delete(lost, "final")
    with pytest.raises(FileNotFoundError, match=f"{lost}.* are missing"):
        conclusion.conclude()
    assert [(k["configuration"], k["replicate"], k["stage"]) for k in looks_so_far(run.looks)] == [
        (configuration, replicate, stage)
        for configuration in ("reference", "winner")
        for replicate in (1, 2)
        for stage in ("before", "after")
    ]
    assert not run.result.exists()
