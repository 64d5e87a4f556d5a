"""Rehearsing policies on past runs: which runs go together, what a policy may say, the rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from shiftsearch.experiments.definition import DefinitionError, build
from shiftsearch.experiments.rehearsal import (
    AS_IT_STANDS,
    RANDOM,
    not_recorded,
    past,
    policies_of,
    policy_of,
    reachable,
    rehearse,
)
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.rehearsing.recording import RecordedBaseline
from shiftsearch.search.rehearsing.replay import Workers
from shiftsearch.search.rehearsing.surrogate import Surrogate
from shiftsearch.search.study.records import stored_trials
from tests.experiments.stored_runs import EXPERIMENT, stored_run

pytestmark = pytest.mark.unit

MINE = build(EXPERIMENT, "tests")


def recorded_values(recording: list[RecordedBaseline]) -> list[float]:
    return sorted(f.value for b in recording for f in b.fine_tunes)


def test_runs_that_agree_are_read_together_whatever_their_folder_seed_and_name(
    tmp_path: Path,
) -> None:
    one = stored_run(tmp_path / "one", data="/images/mine")
    two = stored_run(tmp_path / "two", data="images/moved", seed=1, name="again", dtype="float32")
    experiment, recording = past([one.folder, two.folder])
    assert (experiment.data, experiment.seed) == ("/images/mine", 0)
    trials = [t for run in (one, two) for t in stored_trials(run.journal)]
    assert recorded_values(recording) == sorted(t.value for t in trials if t.value is not None)
    assert len(recording) == sum(t.branch_of is None for t in trials) < len(trials) == 16


def test_a_run_of_the_first_version_is_read(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "old", old=True)
    assert "policy" not in run.definition.read_text()
    assert "branch_of" not in run.journal.read_text()
    experiment, recording = past([run.folder])
    assert [len(baseline.fine_tunes) for baseline in recording] == [1] * 8
    assert experiment.policy.branches == Policy().branches
    surrogate = Surrogate(recording, experiment.search_space())
    assert rehearse(experiment, surrogate, {"a": experiment}, 2, Workers(2), 0.5)[0].reached == 1


@pytest.mark.parametrize(
    ("digest", "changes", "field"),
    [
        ("d2", {}, "data is d2, but d1"),
        (
            "d1",
            {"space": {"fine_tune": {"dropout": {"low": 0.1, "high": 0.5}}}},
            "space.baseline.batch_size is 64, but one of 16, 32",
        ),
        ("d1", {"protocol": {"baseline": {"max_epochs": 5}}}, "baseline.max_epochs is 5, but 4"),
    ],
)
def test_runs_that_disagree_are_refused_by_field_and_values(
    tmp_path: Path, digest: str, changes: dict[str, Any], field: str
) -> None:
    one = stored_run(tmp_path / "one")
    two = stored_run(tmp_path / "two", digest, **changes)
    with pytest.raises(NotARun) as raised:
        past([one.folder, two.folder])
    (line,) = str(raised.value).splitlines()
    assert line.startswith(f"{two.folder}: ")
    assert f"{field} in {one.folder}; runs that" in line


@pytest.mark.parametrize(
    ("missing", "written", "problem"),
    [
        ("experiment.yaml", None, "is not a run; it has no experiment.yaml"),
        ("study.journal", None, "is not a run; it has no study.journal"),
        ("study.journal", "", "study.journal: holds no study ("),
        ("study.journal", "nonsense\n", "study.journal, line 1: is damaged ("),
        ("study.journal", '{"op_code": 77}\n', "study.journal, line 1: is damaged ("),
    ],
)
def test_what_is_no_run_is_named(
    tmp_path: Path, missing: str, written: str | None, problem: str
) -> None:
    run = stored_run(tmp_path / "run", trials=1)
    (run.folder / missing).unlink()
    if written is not None:
        (run.folder / missing).write_text(written)
    with pytest.raises(NotARun) as raised:
        past([run.folder])
    assert problem in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_run_at_work_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    """Its last line may be half written; opening the journal itself would cut it off."""
    run = stored_run(tmp_path / "run")
    with run.journal.open("a") as journal:
        journal.write('{"op_code": 4, "wor')
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    assert len(recorded_values(past([run.folder])[1])) == 8
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before


def test_a_policy_replaces_what_it_names_and_nothing_else() -> None:
    changed = policy_of(MINE, "branches=5,rungs=1+3,keep=1,sampler=gp,start_up=4")
    assert changed.policy.model_dump() == {
        "branches": 5,
        "first_baselines": 2,
        "rungs": (1, 3),
        "keep": 1.0,
        "min_population": Policy().min_population,
    }
    assert (changed.sampler, changed.start_up) == ("gp", 4)
    assert policy_of(changed, "rungs=").policy.rungs == ()
    same = {"policy": MINE.policy, "sampler": "random", "start_up": MINE.start_up}
    assert changed.model_copy(update=same) == MINE


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' is not KEY=VALUE with one of branches, first_baselines, rungs, keep, min_pop"),
        ("branches", "'branches' is not KEY=VALUE with one of"),
        ("branch=2", "'branch=2' is not KEY=VALUE with one of"),
        ("trials=2", "'trials=2' is not KEY=VALUE with one of"),
        ("branches=0", "policy.branches: 0, but input should be greater than or equal to 1"),
        ("branches=2.5", "policy.branches: 2.5, but input should be a valid integer"),
        ("branches=true", "policy.branches: True, but input should be a valid integer"),
        ("keep=0", "policy.keep: 0.0, but input should be greater than 0"),
        ("keep=.nan", "policy.keep: nan, but input should be a finite number"),
        ("keep=half", "policy.keep: 'half', but input should be a valid number"),
        ("min_population=", "policy.min_population: '', but input should be a valid integer"),
        ("rungs=3+1", "policy.rungs: (3, 1), but must rise"),
        ("rungs=2+2", "policy.rungs: (2, 2), but must rise"),
        ("rungs=1+x", "policy.rungs.1: 'x', but input should be a valid integer"),
        ("rungs=0", "policy.rungs.0: 0, but input should be greater than or equal to 1"),
        ("rungs=4", "policy.rungs: 4, but must be below protocol.baseline.max_epochs, 4"),
        ("sampler=bayes", "sampler: 'bayes', but input should be 'tpe', "),
        ("start_up=0", "start_up: 0, but input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_policy_is_named_by_text_value_and_rule(text: str, problem: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        policy_of(MINE, text)
    (line,) = raised.value.problems
    assert line.startswith(f"--policy {text}: {problem}")


def test_the_rows_and_their_number_of_trials() -> None:
    found = policies_of(MINE, ["branches=3"], trials=5)
    assert list(found) == [AS_IT_STANDS, RANDOM, "branches=3"]
    assert {experiment.trials for experiment in found.values()} == {5}
    assert [experiment.policy.branches for experiment in found.values()] == [2, 1, 3]
    with pytest.raises(DefinitionError, match="--trials: trials: 200000, but input should be"):
        policies_of(MINE, [], trials=200_000)


def test_rungs_that_no_run_recorded_cannot_be_rehearsed(tmp_path: Path) -> None:
    policy = {"branches": 1, "rungs": [2], "min_population": 100}
    experiment, recording = past([stored_run(tmp_path / "run", policy=policy).folder])
    policies = policies_of(experiment, ["rungs=2", "rungs=1+2+3"])
    assert not_recorded(policies, recording) == [
        f"--policy rungs=1+2+3: the runs recorded no rung of {rung} epochs, so it cannot be "
        "rehearsed"
        for rung in (1, 3)
    ]


def test_a_rehearsal_tells_policies_apart_by_time_reach_and_end(tmp_path: Path) -> None:
    experiment, recording = past([stored_run(tmp_path / "run").folder])
    surrogate, workers = Surrogate(recording, experiment.search_space()), Workers(1)
    target = reachable(recording)
    assert target == recorded_values(recording)[-5]
    rows = rehearse(experiment, surrogate, policies_of(experiment, []), 3, workers, target)
    assert [row.name for row in rows] == [AS_IT_STANDS, RANDOM]
    for row in rows:
        assert row.reached == 1
        assert row.quartiles[0] <= row.quartiles[1] <= row.quartiles[2] <= 8 * 10.0
        assert target <= row.best <= max(recorded_values(recording))
    assert rows == rehearse(experiment, surrogate, policies_of(experiment, []), 3, workers, target)
    never = rehearse(experiment, surrogate, {"a": experiment}, 2, workers, 0.99)[0]
    assert never.reached == 0
    assert never.quartiles == (math.inf,) * 3
    assert never.best > 0.5


def test_the_target_is_reached_by_five_recorded_trials_or_all_of_fewer(tmp_path: Path) -> None:
    few = stored_run(tmp_path / "run", trials=3)
    _, recording = past([Run(few.folder).folder])
    assert reachable(recording) == recorded_values(recording)[0]
