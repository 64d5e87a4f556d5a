"""A run whose trials are computed in two dtypes says so: at its start, and when a worker does."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from shiftsearch.experiments.precision import Precision
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.audience import Audience
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.study.study import Study
from tests.search.fake_study import next_job, open_study, result_of

pytestmark = pytest.mark.unit


def computed_in(job: Job, baseline: str, fine_tune: str) -> ProtocolResult:
    result = result_of(job.configuration)
    return ProtocolResult(
        replace(result.baseline, environment={"dtype": baseline}),
        replace(result.fine_tune, environment={"dtype": fine_tune}),
    )


def begun(path: Path, dtype: str | None) -> tuple[Study, Precision, list[str]]:
    """A call of the driver on the run."""
    study, said = open_study(path / "study.journal"), list[str]()
    precision = Precision(study.formats, said.append)
    precision.recall()
    if dtype is not None:  # else nothing is computed, or only the workers know
        precision.chosen(dtype)
    return study, precision, said


def end_one(study: Study, precision: Precision, baseline: str, fine_tune: str) -> None:
    job = next_job(study)
    result = computed_in(job, baseline, fine_tune)
    study.finish(job, result)
    Audience([precision]).ended(job, "complete", "", result)
    precision.settle()


def test_a_run_that_goes_on_in_another_dtype_names_both(tmp_path: Path) -> None:
    """Even when it was killed before a trial ended; and again as long as it is mixed."""
    _, _, said = begun(tmp_path, "bfloat16")
    assert said == []
    _, _, said = begun(tmp_path, "bfloat16")
    assert said == []
    _, _, (first,) = begun(tmp_path, "float32")
    assert first.index("bfloat16") < first.index("float32")
    _, _, (again,) = begun(tmp_path, "float32")
    assert "bfloat16 and float32" in again
    _, _, (only_concluded,) = begun(tmp_path, None)
    assert "bfloat16 and float32" in only_concluded


def test_a_run_of_an_earlier_version_tells_by_its_trials(tmp_path: Path) -> None:
    study = open_study(tmp_path / "study.journal")
    job = next_job(study)
    study.finish(job, computed_in(job, "bfloat16", "bfloat16"))
    assert study._stored.attribute("dtypes") is None
    assert begun(tmp_path, "bfloat16")[2] == []
    _, _, (said,) = begun(tmp_path, "float32")
    assert said.index("bfloat16") < said.index("float32")


def test_workers_of_a_cluster_tell_by_their_results_once(tmp_path: Path) -> None:
    study, precision, said = begun(tmp_path, None)
    end_one(study, precision, "bfloat16", "bfloat16")
    assert said == []
    end_one(study, precision, "bfloat16", "float32")  # a baseline that another had trained
    assert ["trial-0001" in line for line in said] == [True]
    end_one(study, precision, "float32", "float32")
    assert len(said) == 1
    _, _, again = begun(tmp_path, None)
    assert len(again) == 1


def test_what_was_chosen_is_no_part_of_the_identity(tmp_path: Path) -> None:
    study, _, _ = begun(tmp_path, "bfloat16")
    assert "bfloat16" not in str(study._stored.attribute("identity"))
    assert study.formats.seen == ("bfloat16",)
    assert begun(tmp_path, "float32")[0].formats.seen == ("bfloat16", "float32")


def test_a_result_without_an_environment_says_nothing(tmp_path: Path) -> None:
    study, precision, said = begun(tmp_path, "float32")
    job = next_job(study)
    silent = computed_in(job, "float32", "float32")
    silent = ProtocolResult(*(replace(s, environment={}) for s in vars(silent).values()))
    for result in (None, silent):
        precision.ended(job, "lost", "", result)
        precision.settle()
    assert said == []


def test_a_journal_that_cannot_be_written_ends_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it let pass like a listener's errors, half a line would stay in the journal."""

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    study, precision, _ = begun(tmp_path, None)
    monkeypatch.setattr(study._stored, "note", full)
    job = next_job(study)
    Audience([precision]).ended(job, "complete", "", computed_in(job, "bfloat16", "bfloat16"))
    with pytest.raises(OSError, match="No space"):
        precision.settle()
