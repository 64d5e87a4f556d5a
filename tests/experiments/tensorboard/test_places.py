"""The folder that TensorBoard opens has few runs, and every run is reached from the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shiftsearch.experiments.tensorboard.places import (
    BEST,
    LATEST,
    SHOWN,
    Places,
    can_win,
    mark_winner,
)
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.study.records import TrialRecord
from tests.experiments.protocol_results import EPOCH, complete, job
from tests.experiments.tensorboard.test_log import COMPLETE, curve, log_of

pytestmark = pytest.mark.unit

MOST_RUNS = 40
"""TensorBoard selects no run if there are more."""


def trials(count: int) -> list[TrialRecord]:
    """The reference, then trials whose accuracy falls: the best ones are the first."""
    return [complete(0, 0.0, role="reference"), *(complete(n, 1 / n) for n in range(1, count))]


def written(root: Path, count: int, *, all_values: bool = False) -> Places:
    """Folders with a file each, as a search that ended makes them.

    It tells the value of each trial once, or all values again each time.
    """
    places = Places(root)
    ended: list[TrialRecord] = []
    for trial in trials(count):
        folder = places.of_job(Job("search", trial.number, 0, {}, role=trial.role))
        folder.mkdir(parents=True)
        (folder / "events").write_text(str(trial.number))
        ended.append(trial)
        places.arrange(can_win(ended if all_values else [trial]))
    return places


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("all_values", [False, True])
def test_the_first_folder_has_reference_best_and_latest_and_the_other_the_rest(
    tmp_path: Path, all_values: bool
) -> None:
    root = tmp_path / "tensorboard"
    written(root, 60, all_values=all_values)
    best, latest = range(1, 1 + BEST), range(60 - LATEST, 60)
    shown = {"trial-0000-reference", *(f"trial-{n:04d}" for n in (*best, *latest))}
    assert names(root) == shown
    others = tmp_path / "tensorboard-all"
    assert names(others) == {SHOWN, *(f"trial-{n:04d}" for n in range(1 + BEST, 60 - LATEST))}
    # With the winner's folder, its pages and the experiment.
    assert len(shown) + 3 < MOST_RUNS
    reached = [path.read_text() for path in others.glob("**/events")]
    reached += [path.read_text() for path in (others / SHOWN).glob("*/events")]
    assert sorted(map(int, set(reached))) == list(range(60))


def test_the_winner_is_marked_shown_and_unmarked_when_another_wins(tmp_path: Path) -> None:
    root = tmp_path / "tensorboard"
    written(root, 60)
    mark_winner(root, 30, trials(60))
    assert (root / "trial-0030-winner" / "events").read_text() == "30"
    mark_winner(root, 0, trials(60))
    assert "trial-0000-reference-winner" in names(root)
    assert not [name for name in names(root) if name.startswith("trial-0030")]
    assert "trial-0030" in names(tmp_path / "tensorboard-all")
    before = names(root)
    Places(root).arrange(can_win(trials(60)))  # a later call knows the marks by the names
    assert names(root) == before


def test_a_trial_that_breaks_a_constraint_is_not_among_the_best() -> None:
    first, second = complete(0, 0.9), complete(1, 0.8)
    assert can_win([replace(first, infeasible=True), second]) == {1: 0.8}


def test_a_run_of_an_earlier_version_is_sorted_and_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "tensorboard"
    for trial in trials(50):
        (root / f"trial-{trial.number:04d}").mkdir(parents=True)
    for name in ("retrain-0001-replicate-1", "winner"):
        (root / name).mkdir()
    log_of(root).mend([])
    places = Places(root)
    places.marks["reference"] = 0
    places.arrange(can_win(trials(50)))
    assert {"trial-0000-reference", "winner"} < names(root)
    assert len(names(root) - {"winner"}) == 1 + BEST + LATEST + 1  # and the experiment's file
    assert "retrain-0001-replicate-1" in names(tmp_path / "tensorboard-all")


def test_a_trial_that_runs_is_written_further_after_its_folder_has_moved(tmp_path: Path) -> None:
    root = tmp_path / "tensorboard"
    records = [replace(COMPLETE, number=n) for n in range(LATEST + 1)]
    log = log_of(root, *records)
    log.started(job(0))
    log.epoch(job(0), "baseline", EPOCH)
    for number in range(1, LATEST + 1):
        log.started(job(number))
    log.epoch(job(0), "baseline", {**EPOCH, "epoch": 2})
    moved = tmp_path / "tensorboard-all" / "trial-0000"
    assert [step for step, _ in curve(moved, "accuracy/baseline/validation")] == [1, 2]
    log.ended(job(0), "complete", "", records[0].result)
    back = root / "trial-0000"  # it is the best
    assert curve(back, "final/test2_accuracy_after") == [(1, 0.75)]
    assert not moved.exists()


def test_a_new_trial_moves_few_folders_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = written(tmp_path / "tensorboard", 200)
    looked: list[int] = []
    name = places._name
    monkeypatch.setattr(places, "_name", lambda number: looked.append(number) or name(number))
    places.of_job(Job("search", 200, 0, {}))
    places.arrange({200: 0.5})
    assert 0 < len(looked) < MOST_RUNS + 5
