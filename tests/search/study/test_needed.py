"""Which weights are needed: the same as when all trials are read, and always what comes next."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.store import content_key
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.budget import FailurePolicy
from shiftsearch.search.study.needed import Needed
from shiftsearch.search.study.records import TrialRecord, stage_values
from shiftsearch.search.study.study import Study
from tests.made_results import made_stage
from tests.search.fake_study import open_study

pytestmark = pytest.mark.unit

SPACE = Space.parse(
    {
        "baseline": {"dropout": {"low": 0.1, "high": 0.5, "step": 0.05}},
        "fine_tune": {
            "learning_rate": {"low": 1e-4, "high": 1e-2},
            "frozen_layers": {"low": 0, "high": 4},
        },
    }
)
POINTS = (SPACE.point({"baseline.dropout": 0.1, "fine_tune.frozen_layers": 4}, "point"),)
POLICY = Policy(branches=3, first_baselines=3)
TRIALS, KEEP = 40, 4


def opened(path: Path, policy: Policy = POLICY) -> Study:
    patient = FailurePolicy(min_ended=1000)
    return open_study(path, TRIALS, "random", 0, POINTS, patient, policy, SPACE)


def baseline_course(job: Job) -> str:
    return content_key(sorted(stage_values(job.configuration, "baseline").items()))


def trained(job: Job, rng: random.Random) -> ProtocolResult:
    """With the keys of a store: equal baselines have one course."""
    base = baseline_course(job)
    tune = content_key([base, sorted(job.configuration.items())])
    value, before = rng.choice([0.5, 0.6, rng.random()]), 0.2
    return ProtocolResult(
        made_stage(0.5, before, key=f"{base}-0004"), made_stage(0.9, value, key=f"{tune}-0003")
    )


def courses(result: ProtocolResult | None) -> set[str]:
    assert result is not None
    return {result.baseline.course, result.fine_tune.course}


def scanned(trials: list[TrialRecord]) -> set[str]:
    """Courses of the best trials and of the reference."""
    complete = [t for t in trials if t.result is not None]
    complete.sort(key=lambda t: (-(t.value or 0), t.number))
    found = complete[:KEEP] + [t for t in complete if t.role == "reference"]
    return {course for t in found for course in courses(t.result)}


def baselines_of(trials: list[TrialRecord], roots: list[int]) -> set[str]:
    return {t.result.baseline.course for t in trials if t.result and t.root in roots}


def baselines_in_use(trials: list[TrialRecord]) -> set[str]:
    """Baselines of open trials that another one has trained."""
    known = {
        tuple(stage_values(t.configuration, "baseline").items()): t.result.baseline.course
        for t in trials
        if t.result is not None
    }
    open_ = [t for t in trials if t.state in ("waiting", "running")]
    keys = [tuple(stage_values(t.configuration, "baseline").items()) for t in open_]
    return {known[key] for key in keys if key in known}


@pytest.mark.parametrize("seed", range(3))
def test_the_best_and_what_is_branched_are_needed_and_little_else(
    tmp_path: Path, seed: int
) -> None:
    """Three trials at once, one in eight fails; every answer is that of a new look at all."""
    rng, study = random.Random(seed), opened(tmp_path / "journal")
    needed = study.needed(KEEP)
    running: list[Job] = []
    removed: set[str] = set()
    while not study.finished:
        wanted = study._policy.branch_of(study._families)
        job = study.ask() if len(running) < 3 else None
        if job is not None:
            running.append(job)
            if wanted is not None and job.branch_of == wanted and job.role == "sampled":
                assert not baselines_of(study.trials(), [wanted]) & removed, "not foreseen"
            continue
        job = running.pop(rng.randrange(len(running)))
        if rng.random() < 1 / 8:
            study.fail(job, "broken")
        else:
            study.share(job)
            result = trained(job, rng)
            study.finish(job, result)
            removed -= courses(result)  # trained again if it was removed
        # With what the job has noted, as the collector does.
        released = {*needed.released(), baseline_course(job)}
        removed |= {course for course in released if not needed.is_needed(course)}
        trials = study.trials()
        roots = study._policy.may_branch_from(study._families)
        expected = scanned(trials) | baselines_in_use(trials) | baselines_of(trials, roots)
        everything = {c for t in trials if t.result is not None for c in courses(t.result)}
        assert {c for c in everything if needed.is_needed(c)} == expected
        assert everything - expected <= removed, "what is not needed was released"
        assert len(roots) <= POLICY.first_baselines + 3
        again = Needed(KEEP, lambda: study._policy.may_branch_from(study._families))
        study._stored.follow(again)
        again.released()
        assert {c for c in everything if again.is_needed(c)} == expected
        study._stored._tallies.pop()
    assert len(removed) > TRIALS / 2


def test_without_branches_no_baseline_is_kept_for_one(tmp_path: Path) -> None:
    rng, study = random.Random(0), opened(tmp_path / "journal", Policy(branches=1))
    needed = study.needed(1)
    while (job := study.ask()) is not None:
        study.finish(job, trained(job, rng))
        needed.released()
    everything = {c for t in study.trials() for c in courses(t.result)}
    assert len({c for c in everything if needed.is_needed(c)}) <= 4
