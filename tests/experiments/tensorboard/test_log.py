"""What TensorBoard's own readers find in the folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.util.tensor_util import make_ndarray

from shiftsearch.experiments.outcome.trials_table import trials_frame
from shiftsearch.experiments.tensorboard.events import EventFile, has_end, scalar
from shiftsearch.experiments.tensorboard.log import TensorBoardLog
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.store import Entry, Store, open_store
from shiftsearch.search.executing.places import Place
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.goals import COSTS
from shiftsearch.search.study.records import TrialRecord
from tests.experiments.protocol_results import (
    EPOCH,
    branch,
    complete,
    confusion,
    failed,
    job,
    protocol_result,
    pruned,
    waiting,
)

pytestmark = pytest.mark.unit

CLASSES = tuple("abc")
SPACE = Space.parse(
    {
        "baseline": {
            "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "batch_size": {"choices": [32, 64]},
        },
        "fine_tune": {"frozen_layers": {"low": 0, "high": 4}},
    }
)
END = metadata.SESSION_END_INFO_TAG


def with_confusions(trial: TrialRecord) -> TrialRecord:
    """A trial of the first version: its result holds a matrix for every accuracy."""
    assert trial.result is not None
    written = trial.result.to_json()
    for stage in ("baseline", "fine_tune"):
        del written[stage]["report"]
        for split in ("test", "test2"):
            written[stage][split]["confusion"] = confusion(3, 60)
    return replace(trial, result=ProtocolResult.from_json(written))


RUNNING = replace(failed(0, "-"), state="running", reason="", seconds=None)
COMPLETE = with_confusions(complete(3, 0.75))


def log_of(root: Path, *trials: TrialRecord) -> TensorBoardLog:
    store = open_store(root.with_name("store"))
    return TensorBoardLog(root, SPACE, CLASSES, store, {t.number: t for t in trials}.__getitem__)


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    events = read(folder).Tensors(tag)
    return [(e.step, round(make_ndarray(e.tensor_proto).item(), 6)) for e in events]


def tags(folder: Path) -> set[str]:
    return set(read(folder).Tags()["tensors"])


def last_values(folder: Path) -> dict[str, float]:
    """The last value of each of the table's metrics."""
    found = tags(folder) - {metadata.SESSION_START_INFO_TAG, END}
    names = [tag for tag in found if "/" not in tag or tag.startswith("final/")]
    return {tag.removeprefix("final/"): curve(folder, tag)[-1][1] for tag in names}


def session(folder: Path, tag: str, parse: Callable[[bytes], Any]) -> Any:
    return parse(read(folder).SummaryMetadata(tag).plugin_data.content)


def columns(folder: Path) -> dict[str, float | str]:
    """The hyperparameters of the session."""
    start = session(
        folder, metadata.SESSION_START_INFO_TAG, metadata.parse_session_start_info_plugin_data
    )
    return {
        name: value.string_value if value.HasField("string_value") else value.number_value
        for name, value in start.hparams.items()
    }


def status(folder: Path) -> int:
    return int(session(folder, END, metadata.parse_session_end_info_plugin_data).status)


def test_epochs_are_readable_while_the_job_runs(tmp_path: Path) -> None:
    with log_of(tmp_path) as log:
        log.started(job(3))
        for epoch in (1, 2):
            log.epoch(job(3), "baseline", {**EPOCH, "epoch": epoch, "train_loss": 2.0 - epoch})
            assert curve(tmp_path / "trial-0003", "baseline/train_loss")[-1] == (
                epoch,
                2.0 - epoch,
            )
        log.epoch(job(3), "rung_2", {**EPOCH, "train_loss": 0.5})
        assert curve(tmp_path / "trial-0003", "rung_2/train_loss") == [(1, 0.5)]
        log.epoch(job(3), "rung_2_fold_1", EPOCH)
        log.epoch(job(3), "fold_3", EPOCH)
        log.epoch(job(3), "fine_tune", EPOCH)
        assert curve(tmp_path / "trial-0003", "fine_tune/learning_rate") == [(1, 0.001)]
        assert curve(tmp_path / "trial-0003", "baseline/images_per_second")[0] == (1, 2900.0)
        found = read(tmp_path / "trial-0003")
    said = {
        stage: found.SummaryMetadata(f"accuracy/{stage}/validation").summary_description
        for stage in ("baseline", "rung_2", "rung_2_fold_1", "fold_3", "fine_tune")
    }
    assert said["baseline"].endswith("on TEST")
    for stage, number in (("rung_2_fold_1", 1), ("fold_3", 3)):
        assert said[stage] == f"{said['fine_tune']} without fold {number}"
    assert (
        said["rung_2"] == said["fine_tune"] == "after the epoch, 0 to 1, on TEST2's selection part"
    )


def test_the_experiment_declares_every_column_and_is_written_once(tmp_path: Path) -> None:
    log_of(tmp_path).mend([])
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    log_of(tmp_path).mend([waiting(0)])  # continued
    assert [path.read_bytes() for path in tmp_path.iterdir()] == files
    found = session(tmp_path, metadata.EXPERIMENT_TAG, metadata.parse_experiment_plugin_data)
    infos = {info.name: info for info in found.hparam_infos}
    rate = infos["baseline.learning_rate"]
    assert rate.description == "0.0001 to 0.01 (log)"
    assert (rate.domain_interval.min_value, rate.domain_interval.max_value) == (1e-4, 1e-2)
    sizes = infos["baseline.batch_size"].domain_discrete.values
    assert [value.number_value for value in sizes] == [32, 64]
    assert infos["branch_of"].type == api_pb2.DATA_TYPE_STRING
    assert set(infos) == {*SPACE.distributions, "role", "branch_of"}
    # Every metric is a column of trials.csv, and says what it is.
    names = {info.display_name for info in found.metric_infos}
    assert names < {*trials_frame([]).columns, *COSTS}
    assert all(info.description for info in found.metric_infos)


def test_a_session_is_open_while_its_trial_runs(tmp_path: Path) -> None:
    log = log_of(tmp_path, RUNNING)
    log.started(replace(job(0), role="reference", branch_of=None))
    folder = tmp_path / "trial-0000-reference"
    assert curve(folder, "state") == [(0, 0.0)]
    assert columns(folder) == {
        "baseline.learning_rate": 1e-3,
        "baseline.batch_size": 64,
        "fine_tune.frozen_layers": 2,
        "role": "reference",
        "branch_of": "none",
    }
    log.ended(job(0), "lost", "node died", None)  # to be handed out again
    assert END not in tags(folder)
    assert curve(folder, "state") == [(0, 0.0)]


@pytest.mark.parametrize(
    ("trial", "state", "expected"),
    [
        (COMPLETE, 1, api_pb2.STATUS_SUCCESS),
        (pruned(3, {2: 0.5}), 2, api_pb2.STATUS_SUCCESS),
        (failed(3, "training loss nan"), 3, api_pb2.STATUS_FAILURE),
    ],
    ids=["complete", "pruned", "failed"],
)
def test_a_session_ends_with_the_trial_s_row_of_the_table(
    tmp_path: Path, trial: TrialRecord, state: int, expected: int
) -> None:
    log = log_of(tmp_path, trial)
    log.started(job(3))
    log.epoch(job(3), "baseline", EPOCH)
    log.ended(job(3), trial.state, trial.reason, trial.result)
    folder = tmp_path / "trial-0003"
    assert status(folder) == expected
    assert curve(folder, "state") == [(0, 0.0), (1, state)]
    assert curve(folder, "baseline/train_loss") == [(1, 1.5)]
    row = trials_frame([trial]).iloc[0].dropna()
    found = last_values(folder)
    assert found.pop("state") == state
    assert found == {name: pytest.approx(row[name], abs=1e-6) for name in found}
    expected_names = set(row.index) & {
        *("seconds", "stopped_at", "baseline_epochs", "fine_tune_epochs"),
        *(f"{s}_accuracy_{w}" for s in ("test", "test2") for w in ("before", "after")),
    }
    assert set(found) == expected_names
    matrices = {tag for tag in tags(folder) if tag.startswith("confusion/")}
    assert len(matrices) == (4 if state == 1 else 0)


def test_a_trial_lost_too_often_has_failed(tmp_path: Path) -> None:
    log = log_of(tmp_path, failed(3, "lost its worker 4 times"))
    log.started(job(3))
    log.ended(job(3), "lost", "node died", None)
    assert status(tmp_path / "trial-0003") == api_pb2.STATUS_FAILURE


def stored_trial(store: Store) -> TrialRecord:
    """A trial of this version: its matrices are in the store, with each stage's weights."""
    assert COMPLETE.result is not None
    splits = {split: {"confusion": confusion(3, 60)} for split in ("test", "test2")}
    stages = []
    for number, stage in enumerate((COMPLETE.result.baseline, COMPLETE.result.fine_tune)):
        course, name = f"{number}" * 32, "report-1"
        store.save(course, name, Entry({}, splits))
        test, test2 = (replace(s, confusion=None) for s in (stage.test, stage.test2))
        key = f"{course}-0009"
        stages.append(replace(stage, key=key, report=name, test=test, test2=test2))
    return replace(COMPLETE, result=ProtocolResult(*stages))


def test_the_confusion_matrices_are_found_in_the_store(tmp_path: Path) -> None:
    """Pictures are the same as from an old result; without matrices the rest is written."""
    store = open_store(tmp_path / "store")
    trial = stored_trial(store)
    for name, ended in (("new", trial), ("old", COMPLETE)):
        log_of(tmp_path / name, ended).mend([ended])
    found = {
        name: {
            tag: list(e.tensor_proto.string_val)
            for tag in tags(folder)
            if "conf" in tag
            for e in read(folder).Tensors(tag)
        }
        for name in ("new", "old")
        for folder in [tmp_path / name / "trial-0003"]
    }
    assert len(found["new"]) == 4
    assert found["new"] == found["old"]
    for course, name in store.entries():
        store.delete(course, name)
    log_of(tmp_path / "lost", trial).mend([trial])
    folder = tmp_path / "lost/trial-0003"
    assert not [tag for tag in tags(folder) if "confusion" in tag]
    assert last_values(folder)["test2_accuracy_after"] == 0.75


def test_a_branch_names_its_root_after_mending_too(tmp_path: Path) -> None:
    trial = with_confusions(branch(3, 0.75, 1))
    log_of(tmp_path).mend([trial])
    live = tmp_path / "live"
    log_of(live).started(replace(job(3), branch_of=1))
    assert columns(tmp_path / "trial-0003") == columns(live / "trial-0003")
    assert columns(live / "trial-0003")["branch_of"] == "1"


def test_retraining_has_curves_and_final_accuracies_but_no_session(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.started(job(3, replicate=2))
    log.ended(job(3, replicate=2), "complete", "", protocol_result(0.25, 0.75))
    folder = tmp_path.with_name(f"{tmp_path.name}-all") / "retrain-0003-replicate-2"
    assert {t: curve(folder, t) for t in tags(folder)} == {
        "final/test_accuracy_before": [(1, 0.56)],
        "final/test_accuracy_after": [(1, 0.97)],
        "final/test2_accuracy_before": [(1, 0.25)],
        "final/test2_accuracy_after": [(1, 0.75)],
    }
    before = [p.read_bytes() for p in folder.iterdir()]
    log.epoch(job(3, replicate=2), "baseline", EPOCH)
    assert [p.read_bytes() for p in folder.iterdir()] == before


def test_a_job_taken_up_again_has_no_step_twice(tmp_path: Path) -> None:
    log = log_of(tmp_path, RUNNING)
    folder = tmp_path / "trial-0000"
    log.started(job(0))
    watching = read(folder)
    for epochs in (2, 3):  # the first worker was lost after two epochs
        log.started(job(0))
        for epoch in range(1, epochs + 1):
            log.epoch(job(0), "baseline", {**EPOCH, "epoch": epoch})
        watching.Reload()
        log.ended(job(0), "lost", "node died", None)
    assert [step for step, _ in curve(folder, "baseline/train_loss")] == [1, 2, 3]
    # One that has read what was there before forgets it.
    assert [e.step for e in watching.Tensors("baseline/train_loss")] == [1, 2, 3]


def test_mending_ends_what_a_killed_driver_left_and_touches_nothing_else(tmp_path: Path) -> None:
    trials = [replace(COMPLETE, number=n) for n in range(5)]
    log = log_of(tmp_path, *trials)
    for number in (0, 1, 2):
        log.started(job(number))
        log.epoch(job(number), "baseline", EPOCH)
    log.ended(job(0), "complete", "", trials[0].result)
    with EventFile(tmp_path / "trial-0003") as curves_alone:  # as an older version left it
        curves_alone.add([scalar("baseline/train_loss", 1.5, "")], step=1)
    trials[2] = replace(trials[2], state="running", result=None, value=None)
    kept = {p: p.read_bytes() for p in tmp_path.rglob("*tfevents*")}

    for _ in range(2):  # the second finds nothing to do
        log_of(tmp_path).mend(trials)
        written = set(tmp_path.rglob("*tfevents*"))
    assert {p: p.read_bytes() for p in kept} == kept
    assert len(written - set(kept)) == 4  # the experiment, and the ends of 1, 3 and 4
    for number in (0, 1, 3, 4):
        folder = tmp_path / f"trial-{number:04d}"
        assert status(folder) == api_pb2.STATUS_SUCCESS
        assert columns(folder)["baseline.batch_size"] == 64
        assert last_values(folder)["test2_accuracy_after"] == 0.75
        assert "confusion/test2_after" in tags(folder)
        assert number == 4 or curve(folder, "baseline/train_loss") == [(1, 1.5)]
    assert END not in tags(tmp_path / "trial-0002")
    shutil.rmtree(tmp_path / "trial-0000")
    log_of(tmp_path).mend(trials)
    assert has_end(tmp_path / "trial-0000")


def test_a_folder_that_cannot_be_written_does_not_end_the_search(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with log_of(tmp_path / "file", COMPLETE) as log:
        log.mend([COMPLETE])
        log.started(job(3))
        log.epoch(job(3), "baseline", EPOCH)
        log.ended(job(3), "complete", "", COMPLETE.result)
    for method in ("mend", "started", "ended"):
        assert f"TensorBoardLog.{method} failed; the search goes on" in caplog.text


def test_a_job_s_folder_says_where_it_ran(tmp_path: Path) -> None:
    where, tag = Place("one", "ab12", "cuda 0"), "place/node_and_device"
    trial = replace(COMPLETE, place=replace(where, seconds=125.0))
    with log_of(tmp_path / "log", trial) as log:
        for started in (job(3), job(3, replicate=1)):
            log.started(started)
            log.placed(started, where)
            folder = log.places.of_job(started)
            log.ended(started, "complete", "", protocol_result(0.5, 0.75))
            texts = [
                make_ndarray(event.tensor_proto).item().decode()
                for event in read(folder).Tensors(tag)
            ]
            assert texts[0] == "one, node ab12, cuda 0"
            busy = [", busy for 2 min" in text for text in texts[1:]]
            assert busy == [True] * (started.phase == "search")
