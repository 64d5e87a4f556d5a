"""A study ranks its trials by its objective, and says which one that is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from shiftsearch.model.objective import ACCURACY, BALANCED_ACCURACY
from shiftsearch.search.rehearsing.recording import recorded
from shiftsearch.search.study.records import best_trials, objective_of, stored_trials
from shiftsearch.search.study.stored_study import StudyMismatch
from shiftsearch.search.study.study import Study
from tests.made_results import made_result, with_scores
from tests.search.fake_study import IDENTITY, SPACE, next_job, open_study

pytestmark = pytest.mark.unit

BALANCED = IDENTITY | {"objective": "balanced_accuracy"}
VALUES = ((0.9, 0.5), (0.7, 0.75), (0.8, 0.625))  # accuracy, balanced accuracy


def searched(path: Path) -> Study:
    first = open_study(path, 3)
    settings = replace(first.settings, objective=BALANCED_ACCURACY)
    return Study(path.with_name("balanced.journal"), SPACE, settings, BALANCED)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Three trials, the one with the best balanced accuracy being the least accurate."""
    study = searched(tmp_path / "study.journal")
    for accuracy, balanced in VALUES:
        study.finish(next_job(study), with_scores(made_result(accuracy), balanced))
    return study


def test_trials_are_ranked_by_the_objective(study: Study, tmp_path: Path) -> None:
    read = stored_trials(tmp_path / "balanced.journal")
    for trials in (study.trials(), read):
        assert [t.value for t in trials] == [balanced for _, balanced in VALUES]
        assert [t.number for t in best_trials(trials, 3)] == [1, 2, 0]
        assert objective_of(trials) == BALANCED_ACCURACY
    accuracies = [t.result.test2_accuracy for t in read if t.result]
    assert accuracies == [accuracy for accuracy, _ in VALUES]
    assert objective_of([]) == ACCURACY


def test_a_recording_holds_the_objective(study: Study) -> None:
    families = recorded(study.trials())
    values = [f.value for family in families for f in family.fine_tunes]
    assert sorted(values) == [0.5, 0.625, 0.75]
    assert {b.looks[0] for b in families} <= {0.25, 0.3125, 0.375}


def test_the_reason_of_a_failure_names_the_objective(tmp_path: Path) -> None:
    study = searched(tmp_path / "study.journal")
    study.finish(next_job(study), with_scores(made_result(0.5), float("nan")))
    assert "test2_balanced_accuracy" in study.trial(0).reason


def test_another_objective_is_refused_in_one_line(study: Study, tmp_path: Path) -> None:
    with pytest.raises(StudyMismatch) as error:
        open_study(tmp_path / "balanced.journal", 3)
    assert len(error.value.found) == 1
    assert error.value.found[0].startswith("objective: ")


def test_results_of_a_study_by_accuracy_are_stored_as_before(tmp_path: Path) -> None:
    study = open_study(tmp_path / "study.journal", 1)
    study.finish(next_job(study), made_result(0.5))
    assert "balanced" not in json.dumps(study._stored.get(0, "result"))
