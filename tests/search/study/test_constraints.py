"""Constraints: what breaks a bound is not trained, teaches the sampler, and is refused again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from optuna.trial import TrialState

from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study import ending
from shiftsearch.search.study.budget import Budget
from shiftsearch.search.study.goals import Limits
from shiftsearch.search.study.settings import Settings
from shiftsearch.search.study.study import Study
from tests.search.fake_study import IDENTITY, SPACE, next_job, result_of, summary

pytestmark = pytest.mark.unit

POLICY = Policy(branches=4, first_baselines=2)
REFERENCE = 512
MOST = 12


class FakeMeter:
    """A network costs as its baseline's dropout says: 1024 parameters a unit."""

    def __init__(self, latency: float | None = None) -> None:
        self.latencies: dict[str, dict[str, float | str]] = {}
        self.measured, self._latency = 0, latency

    def __call__(self, configuration: Mapping[str, Value]) -> dict[str, float]:
        dropout = float(configuration["baseline.dropout"])
        costs: dict[str, float] = {"parameters": round(1024 * dropout), "multiply_adds": 7}
        if self._latency is None:
            return costs
        key = f"{dropout:.1f}"
        if key not in self.latencies:
            self.measured += 1
            self.latencies[key] = {"ms": self._latency * dropout, "machine": "a fake"}
        return {**costs, "latency_ms": float(self.latencies[key]["ms"])}


def study_of(
    path: Path | None,
    limits: Limits,
    trials: int = 12,
    meter: FakeMeter | None = None,
    sampler: str = "tpe",
    costs: tuple[str, ...] = (),
    space: Space = SPACE,
    points: tuple[Mapping[str, Value], ...] = (),
) -> Study:
    settings = Settings(
        "tests",
        sampler,
        0,
        Budget(trials),
        points,
        policy=POLICY,
        start_up=4,
        costs=costs,
        limits=limits,
    )
    return Study(path, space, settings, IDENTITY, meter=meter or FakeMeter())


def drive(study: Study, ends: int = 1000) -> None:
    for _ in range(ends):
        job = study.ask()
        if job is None:
            return
        study.share(job)
        study.finish(job, result_of(job.configuration))


@pytest.mark.parametrize("sampler", ["tpe", "tpe-univariate", "qmc", "random"])
def test_a_configuration_beyond_a_bound_is_not_trained_and_does_not_count(sampler: str) -> None:
    study = study_of(None, Limits(max_parameters=REFERENCE), 24, sampler=sampler)
    drive(study)
    trials = study.trials()
    refused = [t for t in trials if t.state == "refused"]
    assert refused
    assert all(t.configuration["baseline.dropout"] > 0.5 for t in refused)
    assert [t.state for t in trials].count("complete") == 24
    assert all(t.configuration["baseline.dropout"] <= 0.5 for t in trials if t.value is not None)
    first = refused[0]
    assert first.reason == "has 614 parameters, but constraints.max_parameters is 512"
    assert (first.result, first.has_baseline, first.has_ended) == (None, False, False)
    optuna = study._stored.trial(first.number)
    assert optuna.state == TrialState.PRUNED
    assert optuna.constraints == {"max_parameters": pytest.approx(614 / 512 - 1)}


def test_the_sampler_learns_from_refusals() -> None:
    limits = Limits(max_parameters=round(0.25 * 1024))
    counts = {}
    for sampler in ("tpe", "random"):
        study = study_of(None, limits, 40, sampler=sampler)
        drive(study)
        counts[sampler] = sum(t.state == "refused" for t in study.trials())
    assert counts["tpe"] < counts["random"] / 2


def test_the_reference_is_trained_but_neither_wins_nor_is_branched() -> None:
    study = study_of(None, Limits(max_parameters=300))
    drive(study)
    reference = study.trials()[0]
    assert (reference.state, reference.infeasible) == ("complete", True)
    assert all(t.branch_of != 0 for t in study.trials())
    assert any(t.branch_of is not None for t in study.trials())
    assert all(not t.infeasible for t in study.trials()[1:] if t.state == "complete")


def test_an_interrupted_search_refuses_the_same(tmp_path: Path) -> None:
    limits = Limits(max_parameters=350)
    undisturbed = study_of(tmp_path / "a.journal", limits)
    drive(undisturbed)
    path = tmp_path / "b.journal"
    study = study_of(path, limits)
    for _ in range(30):
        drive(study, 1)
        if study.finished:
            break
        study.ask()  # a job that is lost with the driver
        study = study_of(path, limits)
    assert summary(study) == summary(undisturbed)


def test_a_measured_latency_decides_for_ever(tmp_path: Path) -> None:
    path, limits = tmp_path / "study.journal", Limits(max_latency_ms=1.0)
    study = study_of(path, limits, 8, FakeMeter(2.0))
    drive(study)
    bounds = {t.number: t.state for t in study.trials()}
    assert "refused" in bounds.values()
    assert study.gate.machines == ["a fake"]
    slow = FakeMeter(1000.0)  # a slower machine, which measures nothing again
    again = study_of(path, limits, 8, slow)
    job_like = dict(study.trials()[0].configuration)
    assert again.gate.broken(job_like) == []
    assert slow.measured == 0
    assert {t.number: t.state for t in again.trials()} == bounds


def test_a_space_that_breaks_its_bound_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "MOST_REFUSALS", MOST)
    space = Space.parse({"baseline": {"dropout": {"low": 0.3, "high": 0.9}}})
    path, limits = tmp_path / "study.journal", Limits(max_parameters=200)
    study = study_of(path, limits, space=space)
    drive(study)
    assert study.finished
    assert study.gave_up
    assert study.ending.hopeless
    trials = study.trials()
    assert [t.state for t in trials] == ["complete", *["refused"] * MOST]
    least = min(t.costs["parameters"] for t in trials[1:])
    assert study.stop_reason == (
        f"the last {MOST} configurations were refused; constraints.max_parameters: 200, "
        f"but the least is {least} parameters"
    )
    again = study_of(path, limits, space=space)
    assert again.ask() is None
    assert len(again.trials()) == len(trials)


def test_a_search_with_something_to_show_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "MOST_REFUSALS", MOST)
    space = Space.parse({"baseline": {"dropout": {"low": 0.7, "high": 0.9}}})
    study = study_of(None, Limits(max_parameters=600), space=space)
    drive(study)
    assert [t.state for t in study.trials()] == ["complete", *["refused"] * MOST]
    assert study.stop_reason
    assert not study.ending.hopeless  # the reference may win
    assert not study.gave_up


def test_a_request_beyond_a_bound_is_refused_at_once() -> None:
    study = study_of(None, Limits(max_parameters=REFERENCE))
    next_job(study)
    point = SPACE.point({"baseline.dropout": 0.6}, "request")
    with pytest.raises(ValueError, match=r"has 614 parameters, but constraints\.max_parameters"):
        study.enqueue(point)
    assert study.enqueue(SPACE.point({"baseline.dropout": 0.2}, "request")) == 1


def test_without_bounds_costs_are_noted_and_nothing_else_changes(tmp_path: Path) -> None:
    with_meter, without = study_of(None, Limits()), study_of(None, Limits())
    without.gate._meter = None
    for study in (with_meter, without):
        drive(study)
    assert summary(with_meter) == summary(without)
    assert all(t.costs["multiply_adds"] == 7 for t in with_meter.trials())
    assert all(not t.costs for t in without.trials())
    assert all(not with_meter._stored.trial(t.number).constraints for t in with_meter.trials())


def test_two_bounds_that_exclude_each_other_are_both_named() -> None:
    limits = Limits(max_parameters=10, max_latency_ms=1.0)
    costs = [{"parameters": 20, "latency_ms": 0.5}, {"parameters": 5, "latency_ms": 2.0}]
    assert all(limits.broken(c) for c in costs)
    line = limits.unreachable(costs)
    assert "5 parameters" in line
    assert "0.5 ms" in line
    assert limits.excess(costs[0]) == {"max_parameters": 1.0, "max_latency_ms": -0.5}
