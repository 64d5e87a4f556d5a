"""What Optuna's own views find in a study besides its trials' values."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.study.journal import open_journal
from shiftsearch.search.study.records import stored_trials
from tests.made_results import made_result
from tests.search.fake_study import drive, next_job, open_study, summary

pytestmark = pytest.mark.unit

RUNGS = Policy(branches=1, rungs=(1, 9), min_population=50)


def stored(path: Path) -> optuna.Study:
    storage = open_journal(path)
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def test_a_complete_trial_has_a_value_after_each_stage_and_its_record_only_the_rungs(
    tmp_path: Path,
) -> None:
    path = tmp_path / "study.journal"
    study = open_study(path, policy=RUNGS)
    job = next_job(study)
    study.report(job, 1, 0.25)
    result = made_result(0.75, before=0.5)
    first, last = result.baseline.epochs, result.baseline.epochs + result.fine_tune.epochs
    study.finish(job, result)
    assert stored(path).trials[0].intermediate_values == {1: 0.25, first: 0.5, last: 0.75}
    for record in (study.trial(0), stored_trials(path)[0]):
        assert record.intermediate == {1: 0.25}


def test_a_rung_at_a_stage_s_last_epoch_keeps_its_value(tmp_path: Path) -> None:
    study = open_study(tmp_path / "study.journal", policy=RUNGS)
    job, result = next_job(study), made_result(0.75, before=0.5)
    study.report(job, result.baseline.epochs, 0.625)
    study.finish(job, result)
    assert study.trial(0).intermediate == {result.baseline.epochs: 0.625}


def test_the_metric_has_a_name_also_in_a_run_of_an_earlier_version(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    drive(open_study(path), ends=2)
    lines = path.read_text().splitlines(keepends=True)
    earlier = tmp_path / "earlier.journal"
    earlier.write_text("".join(line for line in lines if "metric_names" not in line))
    assert stored(path).metric_names == ["test2_accuracy"]
    assert stored(earlier).metric_names is None
    study = open_study(earlier)
    assert stored(earlier).metric_names == ["test2_accuracy"]
    written = earlier.read_bytes()
    assert summary(open_study(earlier)) == summary(study)
    assert earlier.read_bytes() == written
