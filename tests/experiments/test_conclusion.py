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
from shiftsearch.experiments.outcome.blends import Blend, Model
from shiftsearch.experiments.outcome.looks import looks_so_far
from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.device import Device
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.store import Entry
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
        results = {
            **candidate.results,
            1: with_score(candidate.results[1], 0.5, 0.7 - number / 100),
        }
        changes = {**candidate.configuration, **changes}
        found.append(replace(candidate, configuration=changes, results=results))
    sampled = [complete(1, 0.55), complete(2, 0.6), branch(3, 0.65, root=2)]
    records = [complete(0, 0.5, role="reference"), *sampled, complete(17, 0.75, **better)]
    study: Any = Searched(*map(timed, records))
    retraining: Any = Retrained(*found)
    experiment = build({}, "tests")
    return Conclusion(experiment, run, tiny_dataset, study, retraining, CIRCUMSTANCES)


def with_score(result: ProtocolResult, accuracy: float, loss: float) -> ProtocolResult:
    """The result with these values on the selection part after fine-tuning."""
    test2 = replace(result.fine_tune.test2, accuracy=accuracy, loss=loss)
    return replace(result, fine_tune=replace(result.fine_tune, test2=test2))


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


def test_a_better_model_of_the_search_is_exported_after_its_looks_are_counted(
    conclusion: Conclusion, run: Run
) -> None:
    trial = conclusion.study.trials()[2]
    assert trial.result is not None
    for stage, weights in ((trial.result.baseline, C), (trial.result.fine_tune, B)):
        run.store.save(stage.course, "final", Entry(weights, {}))
    better = replace(trial, result=with_score(trial.result, 0.99, 0.1))
    searched: Any = Searched(*(t if t.number != 2 else better for t in conclusion.study.trials()))
    conclusion.study = searched
    result = conclusion.conclude()
    assert result is not None
    assert result["winner"]["number"] == 17
    assert (result["exported"]["number"], result["exported"]["replicate"]) == (2, 0)
    assert [k["configuration"] for k in looks_so_far(run.looks)][8:] == ["model", "model"]
    bundle = load_bundle(run.bundle)
    assert bundle.weights["after"]["head.bias"].tolist() == B["head.bias"].tolist()
    assert bundle.record.temperature == result["model"]["temperature"] != 1
    selected, held_out, whole = result["model"]["test2"]
    assert whole["n"] == selected["n"] + held_out["n"]
    (row,) = [
        r
        for r in result["table"]
        if (r["configuration"], r["stage"], r["part"]) == ("model", "after", "held-out")
    ]
    assert row["accuracy"] == held_out["accuracy"]


def test_an_ensemble_is_exported_if_it_beats_single_models_on_other_images(
    conclusion: Conclusion, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = {"rule": 0.9, "single": 0.8}
    made = "shiftsearch.experiments.outcome.choice"
    monkeypatch.setattr(f"{made}.cross_fitted", lambda *_: checked)

    def pair(candidates: Any, rows: Any) -> Model:
        of = [next(t for t in candidates.trained if t.replicate == r) for r in (1, 2)]
        members = tuple(Blend((t,)) for t in of)
        return Model("ensemble", members, (0.6, 0.4))

    monkeypatch.setattr(f"{made}.RULES", {"ensemble": pair})
    conclusion.experiment = build({"export": {"model": "ensemble"}}, "tests")
    result = conclusion.conclude()
    assert result is not None
    assert [m["share"] for m in result["model"]["members"]] == [0.6, 0.4]
    bundle = load_bundle(run.bundle)
    assert [m.share for m in bundle.record.members] == [0.4]
    assert bundle.record.schema_number == 2
    device = Device("cpu", "float32", 1, "tests")
    rows = bundle.evaluate(conclusion.dataset, device)
    for row, written in zip(rows, bundle.record.metrics, strict=True):
        assert row["confusion"] == written["confusion"]
        assert row["loss"] == pytest.approx(written["loss"], abs=1e-6)
    # The first is always A, the second B: 0.6 and 0.4 of 0.75, and of 0.05 for the others.
    images = conclusion.dataset.splits["TEST"].images[:3]
    plain = replace(bundle, record=bundle.record.model_copy(update={"temperature": 1.0}))
    found = plain.predict_proba(images, device)
    assert sorted(found[0].tolist())[-2:] == pytest.approx([0.33, 0.47], abs=1e-6)
    checked["rule"] = 0.8  # no better: the best single one
    conclusion.experiment = build({"export": {"model": "ensemble", "max_members": 3}}, "tests")
    result = conclusion.conclude()
    assert result is not None
    assert result["model"]["kind"] == "single"
    assert "did not beat" in result["model"]["reason"]
