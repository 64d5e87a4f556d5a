"""The command `retrain`, without training: what it refuses, prints, counts and compares."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from shiftsearch.data.cache import keep_pack
from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.benchmarks.untrained import random_weights
from shiftsearch.experiments.cli import main
from shiftsearch.experiments.outcome.looks import looks_so_far
from shiftsearch.experiments.outcome.training import Training
from shiftsearch.experiments.outcome.trainings import training_key
from shiftsearch.experiments.retraining import equal_weights
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.store import Entry, open_store
from shiftsearch.search.study.journal import RunLock
from shiftsearch.search.study.records import stored_trials
from tests.experiments.stored_networks import always, keep_two
from tests.experiments.stored_runs import stored_run

pytestmark = [
    pytest.mark.unit,
    pytest.mark.slow(reason="scores models on all images of a small dataset"),
    pytest.mark.usefixtures("gpu_of_others"),
]

SIZE, CLASSES = (28, 28), 6


@pytest.fixture
def run(tiny_dataset: Dataset, tmp_path: Path) -> Run:
    """A searched run; trial 5 has two new replicates, which share the search's two networks."""
    run = stored_run(tmp_path / "run", tiny_dataset.digest)
    keep_pack(tiny_dataset, run.pack)
    trial = stored_trials(run.journal)[5]
    assert trial.result is not None
    keep_two(run.store, trial.result)
    written = {
        training_key(trial.configuration, r, Protocol()): Training(trial.result).to_json()
        for r in (1, 2)
    }
    run.retrained.write_text(json.dumps(written))
    return run


def result_of(run: Run) -> ProtocolResult:
    result = stored_trials(run.journal)[5].result
    assert result is not None
    return result


def called(*arguments: object) -> int:
    threads = torch.get_num_threads()
    try:
        return main(["retrain", *map(str, arguments)])
    finally:
        torch.set_num_threads(threads)


def test_what_is_stored_is_not_trained_again_and_the_held_out_part_is_left_alone(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = run.retrained.read_bytes()
    assert called(run.folder, "--trial", 5, "--seeds", 2) == 0
    out = capsys.readouterr().out
    value = 100 * result_of(run).test2_accuracy
    assert "trial 5, 2 new replicates: accuracy on TEST2's selection part" in out.lower().replace(
        "test2", "TEST2"
    )
    assert f"{value:.2f} %, standard deviation 0.00 points" in out
    assert looks_so_far(run.looks) == []
    assert run.retrained.read_bytes() == before


def test_a_look_at_the_held_out_part_is_counted(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(run.folder, "--trial", 5, "--seeds", 2, "--held-out") == 0
    assert "optimism" in capsys.readouterr().out
    looks = [(k["configuration"], k["replicate"], k["stage"]) for k in looks_so_far(run.looks)]
    assert looks == [("trial 5", r, s) for r in (1, 2) for s in ("before", "after")]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--trial", 99, "--seeds", 2], "--trial 99: must be from 0 to 7"),
        (["--trial", 5], "retrain: neither --seeds N nor --own-seed is given"),
        (["--trial", 5, "--seeds", 0], "--seeds 0: must be from 1 to 1000"),
        (["--trial", 5, "--own-seed", "--held-out"], "--held-out: scores new replicates"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    run: Run, options: list[object], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(run.folder, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(problem)


def test_what_cannot_be_retrained_is_refused_in_one_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: object) -> str:
        assert called(*arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "is not a run" in refused(tmp_path / "none", "--trial", 0, "--seeds", 1)
    assert not (tmp_path / "none").exists()
    states = {t.number: t.state for t in stored_trials(run.journal)}
    other = next((n for n, state in states.items() if state != "complete"), None)
    if other is not None:
        line = refused(run.folder, "--trial", other, "--seeds", 1)
        assert line == f"--trial {other}: is {states[other]}, but must be complete"
    lock = RunLock(run.lock)
    lock.acquire()
    assert "a search is using this run" in refused(run.folder, "--trial", 5, "--seeds", 1)
    lock.release()
    shutil.rmtree(run.folder / "store")
    assert "nothing to compare with" in refused(run.folder, "--trial", 5, "--own-seed")


def test_weights_are_equal_only_bit_for_bit(run: Run, tmp_path: Path) -> None:
    result, other = result_of(run), open_store(tmp_path / "other")
    for label, course in ((None, result.baseline.course), (2, result.fine_tune.course)):
        made = random_weights(0, CLASSES, SIZE) if label is None else always(2, CLASSES, SIZE)
        other.save(course, "final", Entry(made, {}))
    assert equal_weights(run.store, result, other, result)
    changed = {k: v.clone() for k, v in always(2, CLASSES, SIZE).items()}
    bias = changed["head.bias"]
    bias[0] = torch.nextafter(bias[0], bias[0] + 1)
    other.delete(result.fine_tune.course, "final")
    other.save(result.fine_tune.course, "final", Entry(changed, {}))
    assert not equal_weights(run.store, result, other, result)
