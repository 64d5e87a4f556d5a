"""What TensorBoard's own reader finds in the folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments.tensorboard_log import TensorBoardLog
from tests.experiments.protocol_results import EPOCH, job, protocol_result

pytestmark = pytest.mark.unit


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return [(e.step, round(e.value, 6)) for e in accumulator.Scalars(tag)]


def tags(folder: Path) -> set[str]:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return set(accumulator.Tags()["scalars"])


def test_epochs_are_readable_while_the_job_runs(tmp_path: Path) -> None:
    with TensorBoardLog(tmp_path) as log:
        log.started(job(3))
        for epoch in (1, 2):
            log.epoch(job(3), "baseline", {**EPOCH, "epoch": epoch, "train_loss": 2.0 - epoch})
            assert curve(tmp_path / "trial-0003", "baseline/train_loss")[-1] == (
                epoch,
                2.0 - epoch,
            )
        log.epoch(job(3), "rung_2", {**EPOCH, "train_loss": 0.5})
        assert curve(tmp_path / "trial-0003", "rung_2/train_loss") == [(1, 0.5)]
        log.epoch(job(3), "fine_tune", EPOCH)
        assert curve(tmp_path / "trial-0003", "fine_tune/learning_rate") == [(1, 0.001)]
        assert curve(tmp_path / "trial-0003", "baseline/images_per_second")[0] == (1, 2900.0)
        assert "fine_tune/validation_accuracy" in tags(tmp_path / "trial-0003")


def test_the_end_adds_the_final_accuracies_and_closes(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.started(job(3, replicate=2))
    log.ended(job(3, replicate=2), "complete", "", protocol_result(0.25, 0.75))
    folder = tmp_path / "retrain-0003-replicate-2"
    assert {t: curve(folder, t) for t in tags(folder)} == {
        "final/test_accuracy_before": [(0, 0.56)],
        "final/test_accuracy_after": [(0, 0.97)],
        "final/test2_accuracy_before": [(0, 0.25)],
        "final/test2_accuracy_after": [(0, 0.75)],
    }
    before = [p.read_bytes() for p in folder.iterdir()]
    log.epoch(job(3, replicate=2), "baseline", EPOCH)
    assert [p.read_bytes() for p in folder.iterdir()] == before


def test_a_job_taken_up_again_has_no_step_twice(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    for epochs in (2, 3):  # the first worker was lost after two epochs
        log.started(job(0))
        for epoch in range(1, epochs + 1):
            log.epoch(job(0), "baseline", {**EPOCH, "epoch": epoch})
        log.ended(job(0), "lost" if epochs == 2 else "failed", "node died", None)
    steps = [step for step, _ in curve(tmp_path / "trial-0000", "baseline/train_loss")]
    assert steps == [1, 2, 3]
    assert len(list((tmp_path / "trial-0000").iterdir())) == 1


def test_a_folder_that_cannot_be_written_does_not_end_the_search(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with TensorBoardLog(tmp_path / "file") as log:
        log.started(job(0))
        log.epoch(job(0), "baseline", EPOCH)
        log.ended(job(0), "complete", "", protocol_result(0.25, 0.75))
    assert "TensorBoardLog.started failed; the search goes on" in caplog.text
