"""The run's journal in optuna-dashboard, which only reads it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest

from shiftsearch.search.study.journal import RunLock, open_journal
from tests.browser.servers import Dashboard, until
from tests.browser.watched_run import Watched

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        find_spec("optuna_dashboard") is None,
        reason="optuna-dashboard is not installed: pip install 'shiftsearch[dashboard]'",
    ),
]


def study_of(dashboard: Dashboard) -> dict[str, Any]:
    """The one study it finds, in detail."""
    (study,) = dashboard.json("/api/studies")["study_summaries"]
    return dict(dashboard.json(f"/api/studies/{study['study_id']}"))


def shown_last(dashboard: Dashboard, trial: optuna.Trial) -> dict[str, Any]:
    """The trial, or nothing while it is not there: the dashboard reads the file every 2 s."""
    last = study_of(dashboard)["trials"][-1]
    return dict(last) if last["number"] == trial.number else {"state": ""}


def contents(folder: Path) -> dict[str, bytes | None]:
    """Names of everything in a folder, with the bytes of its files; None for the rest."""
    return {p.name: p.read_bytes() if p.is_file() else None for p in folder.iterdir()}


def assert_as_in_trials_csv(study: Mapping[str, Any], watched: Watched) -> None:
    """All trials with their states, values, drawn hyperparameters and rungs."""
    rows = list(watched.rows().values())
    assert [trial["number"] for trial in study["trials"]] == [row["number"] for row in rows]
    for trial, row in zip(study["trials"], rows, strict=True):
        assert trial["state"].lower() == row["state"]
        value = row.get("test2_accuracy")
        if row["state"] == "pruned":  # for Optuna, its value is the last one it reported
            rungs = {v["step"]: v["value"] for v in trial["intermediate_values"]}
            value = rungs[row["stopped_at"]]
            assert row["reason"].endswith(f"{value:.4f}")
        if row["state"] == "complete":  # after the baseline and after the fine-tune
            by_step = {v["step"]: v["value"] for v in trial["intermediate_values"]}
            after = row["baseline_epochs"] + row["fine_tune_epochs"]
            assert by_step[after] == pytest.approx(row["test2_accuracy_after"])
        assert trial.get("values") == (None if value is None else [pytest.approx(value)])
        for name, drawn in ((p["name"], p["param_external_value"]) for p in trial["params"]):
            if row["role"] == "sampled":  # the known ones may lie outside of the space
                assert float(drawn) == pytest.approx(row[name]), name
    best = max(row["test2_accuracy"] for row in rows if "test2_accuracy" in row)
    assert [trial["values"] for trial in study["best_trials"]] == [[pytest.approx(best)]]


def test_the_journal_of_a_run_shows_its_trials_and_stays_as_it_is(
    watched: Watched, tmp_path: Path
) -> None:
    """The run's own file, beside which any lock or index would lie."""
    before = contents(watched.run.folder)
    with Dashboard(watched.run.journal, tmp_path / "log") as dashboard:
        study = study_of(dashboard)
        during = contents(watched.run.folder)
    assert study["directions"] == ["maximize"]
    assert study["objective_names"] == ["test2_accuracy"]
    assert_as_in_trials_csv(study, watched)
    assert during == before
    assert contents(watched.run.folder) == before


def test_a_journal_that_is_written_shows_what_is_new(watched: Watched, tmp_path: Path) -> None:
    """The driver holds the run's lock, and is not disturbed."""
    folder = tmp_path / "copy"
    folder.mkdir()
    journal = Path(shutil.copy(watched.run.journal, folder / "study.journal"))
    lock = RunLock(folder / "run.lock")
    lock.acquire()
    try:
        storage = open_journal(journal)
        (name,) = optuna.get_all_study_names(storage)
        study = optuna.load_study(study_name=name, storage=storage)
        with Dashboard(journal, tmp_path / "log") as dashboard:
            assert_as_in_trials_csv(study_of(dashboard), watched)
            trial = study.ask()
            assert until(lambda: shown_last(dashboard, trial)["state"] == "Running")
            study.tell(trial, 0.25)
            assert until(lambda: shown_last(dashboard, trial).get("values") == [0.25])
            names = sorted(p.name for p in folder.iterdir())
        assert names == ["run.lock", "study.journal"]
        assert sorted(p.name for p in folder.iterdir()) == names
    finally:
        lock.release()
