"""The driver's cost of TensorBoard's files per trial: time by part, bytes, fraction of a trial.

Feeds one log with synthetic rows, as the driver would, without Ray and without training. Then it
restores the files of a run whose folders were deleted.

    python -m shiftsearch.experiments.benchmarks.logging_cost
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from shiftsearch.experiments.benchmarks.turns import Figure, spread
from shiftsearch.experiments.tensorboard.log import TensorBoardLog
from shiftsearch.model.hyperparameters import Hyperparameters
from shiftsearch.model.result import STAGES, ProtocolResult, SplitResult, StageSummary
from shiftsearch.model.store import Entry, Store, open_store
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord

BOUND = 0.02
"""The largest fraction of a trial's time that its logging may cost."""
MOST_BYTES = 1_000_000
"""The most bytes that a trial may leave on disk."""

SPACE = {
    stage: {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "dropout": {"low": 0.2, "high": 0.6, "step": 0.1},
        "augmentation": {"rotation": {"low": 0, "high": 15}, "noise": {"low": 0, "high": 0.1}},
    }
    for stage in ("baseline", "fine_tune")
}


_REPORT = "report-1"


@dataclass
class Cost:
    """The cost of one trial.

    Attributes:
        seconds: seconds by part: "start", "epochs" (all together) and "end".
        size: bytes on disk.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    size: int = 0

    @property
    def total(self) -> float:
        """Seconds of all parts."""
        return sum(self.seconds.values())


def measure(root: Path, trials: Sequence[TrialRecord], classes: int) -> tuple[list[Cost], float]:
    """The cost of logging each trial, and the seconds to restore all files from nothing.

    Args:
        root: an empty folder.
        trials: complete trials.
        classes: number of classes of their confusion matrices.
    """
    space, names = Space.parse(SPACE), [f"class {i}" for i in range(classes)]
    store = made_store(root / "store", classes)
    log = TensorBoardLog(root / "live", space, names, store, lambda number: trials[number])
    log.mend([])
    costs = [_log_one(log, trial) for trial in trials]
    begin = time.perf_counter()
    mended = TensorBoardLog(root / "mended", space, names, store, lambda number: trials[number])
    mended.mend(trials)
    return costs, time.perf_counter() - begin


def figures(trials: int = 100, epochs: int = 30, classes: int = 10) -> list[Figure]:
    """The figures of `make bench`, for a trial of 6 s."""
    records = [made_trial(n, epochs) for n in range(trials)]
    with tempfile.TemporaryDirectory() as folder:
        costs, _ = measure(Path(folder), records, classes)
    shares, sizes = [c.total / 6.0 for c in costs], [c.size for c in costs]
    return [
        Figure(
            "TensorBoard's files, fraction of a trial of 6 s",
            spread(shares, ".2%"),
            f"{trials} trials",
            f"at most {BOUND:.0%}",
            median(shares) <= BOUND,
        ),
        Figure(
            "TensorBoard's files, bytes a trial",
            spread(sizes, ".0f"),
            f"{trials} trials",
            f"at most {MOST_BYTES}",
            max(sizes) <= MOST_BYTES,
        ),
    ]


def made_store(folder: Path, classes: int) -> Store:
    """A store with the matrices of every trial that `made_trial` makes."""
    store = open_store(folder)
    for stage in STAGES:
        store.save(stage, _REPORT, Entry({}, _matrices(classes)))
    return store


def _log_one(log: TensorBoardLog, trial: TrialRecord) -> Cost:
    job = Job("search", trial.number, 0, trial.configuration)
    assert trial.result is not None
    cost = Cost()
    begin = time.perf_counter()
    log.started(job)
    started = time.perf_counter()
    for stage in STAGES:
        for epoch in range(1, trial.result.stage(stage).epochs + 1):
            log.epoch(job, stage, _row(epoch))
    trained = time.perf_counter()
    log.ended(job, "complete", "", trial.result)
    ended = time.perf_counter()
    cost.seconds = {
        "start": started - begin,
        "epochs": trained - started,
        "end": ended - trained,
    }
    cost.size = sum(path.stat().st_size for path in log.places.of_trial(job.number).iterdir())
    return cost


def _row(epoch: int) -> dict[str, float]:
    return {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "train_accuracy": 1 - 1 / (1 + epoch),
        "validation_loss": 1.5 / epoch,
        "validation_accuracy": 1 - 1.5 / (2 + epoch),
        "learning_rate": 1e-3,
        "images_per_second": 2900.0 + epoch,
    }


def _matrices(classes: int) -> dict[str, Any]:
    """Confusion matrices with a count in every cell, as the store keeps them."""
    rows = [[90 if i == j else 1 + (i + j) % 9 for j in range(classes)] for i in range(classes)]
    return {split: {"confusion": rows} for split in ("test", "test2")}


def made_trial(number: int, epochs: int) -> TrialRecord:
    """Complete; its matrices lie in the store of `made_store`."""
    found, half = SplitResult(90, 0.9, 0.1), epochs // 2
    stages = (
        StageSummary(f"{stage}-0009", half, half, 3.0, {}, found, found, _REPORT)
        for stage in STAGES
    )
    result = ProtocolResult(*stages)
    configuration = Hyperparameters().to_flat()
    return TrialRecord(number, "complete", "sampled", 0.9, configuration, result, "", 6.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=30, help="of a trial, both stages together")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=6.0, help="that a trial takes")
    options = parser.parse_args(argv)
    trials = [made_trial(n, options.epochs) for n in range(options.trials)]
    with tempfile.TemporaryDirectory() as folder:
        costs, mending = measure(Path(folder), trials, options.classes)
    print(f"{options.trials} trials of {options.epochs} epochs, {options.classes} classes")
    for part in costs[0].seconds:
        each = [1e3 * cost.seconds[part] for cost in costs]
        print(f"{part:7s}{median(each):8.2f} ms (median), at most {max(each):.2f} ms")
    total, size = median(c.total for c in costs), median(c.size for c in costs)
    share = total / options.seconds
    print(f"total {1e3 * total:8.2f} ms, {share:.2%} of a trial of {options.seconds:g} s")
    print(f"on disk {size / 1e3:.1f} kB a trial")
    print(f"restoring all of them from nothing {mending:.2f} s")
    return 0 if share <= BOUND and size <= MOST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
