"""How long TensorBoard takes to show a run with many trials, and how many runs it then has.

Writes the event files of made-up trials, as a search would, without training. Then it starts
TensorBoard on the folder that is shown first and on the folder of all runs, and asks until every
run is served.

    python -m shiftsearch.experiments.benchmarks.tensorboard_start --trials 40 200 1000
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from shiftsearch.experiments.benchmarks.logging_cost import SPACE, made_store, made_trial
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.tensorboard.log import TensorBoardLog
from shiftsearch.experiments.tensorboard.places import mark_winner
from shiftsearch.model.result import STAGES
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord

_ADDRESS = re.compile(r"http://localhost:\d+/")
_MOST_SECONDS = 120


def write_run(run: Run, count: int, epochs: int) -> None:
    """Write the event files of a run with `count` trials and two replicates of the best.

    Args:
        run: a new folder.
        count: number of complete trials; their accuracies rise with noise.
        epochs: epochs of a trial, both stages together.
    """
    trials = [_with_value(made_trial(n, epochs), count) for n in range(count)]
    trials[0] = replace(trials[0], role="reference")
    store = made_store(run.folder / "store", 6)
    log = TensorBoardLog(
        run.tensorboard, Space.parse(SPACE), "abcdef", store, lambda number: trials[number]
    )
    log.mend([])
    best = max(trials, key=lambda t: t.value or 0.0).number
    jobs = [Job("search", t.number, 0, t.configuration, role=t.role) for t in trials]
    jobs += [Job("retrain", best, r, trials[best].configuration) for r in (1, 2)]
    for job in jobs:
        log.started(job)
        for stage in STAGES:
            for epoch in range(1, epochs // 2 + 1):
                log.epoch(job, stage, _row(epoch, trials[job.number].value or 0.0))
        log.ended(job, "complete", "", trials[job.number].result)
    mark_winner(run.tensorboard, best, trials)


def _with_value(trial: TrialRecord, count: int) -> TrialRecord:
    value = 0.6 + 0.3 * trial.number / count + 0.05 * math.sin(7.0 * trial.number)
    rate = 10 ** (-4 + 2 * (0.5 + 0.5 * math.sin(3.0 * trial.number)))
    values = {"baseline.learning_rate": rate}
    return replace(trial, value=value, configuration={**trial.configuration, **values})


def _row(epoch: int, value: float) -> dict[str, float]:
    return {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "train_accuracy": 1 - 1 / (1 + epoch),
        "validation_loss": 1.5 / epoch,
        "validation_accuracy": value * (1 - 1 / (1 + epoch)),
        "learning_rate": 1e-3,
        "images_per_second": 2900.0 + epoch,
    }


def seconds_to_show(logdir: Path, runs: int) -> float:
    """Seconds from starting TensorBoard until it serves this many runs.

    Raises:
        RuntimeError: it does not within two minutes.
    """
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port", "0"]
    begin = time.monotonic()
    with subprocess.Popen(
        [*command, "--host", "localhost"], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            found = None
            while found is None and (line := process.stderr.readline()):
                found = _ADDRESS.search(line)
            while found is not None and time.monotonic() - begin < _MOST_SECONDS:
                with urllib.request.urlopen(f"{found[0]}data/runs", timeout=30) as answer:
                    if len(json.load(answer)) >= runs:
                        return time.monotonic() - begin
                time.sleep(0.1)
        finally:
            process.terminate()
    raise RuntimeError(f"{logdir}: TensorBoard did not serve {runs} runs")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a line for each number of trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[40, 200, 1000])
    parser.add_argument("--epochs", type=int, default=20, help="of a trial, both stages together")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the folders here")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as made:
        for count in options.trials:
            run = Run((options.keep or Path(made)).absolute() / f"run-{count}")
            write_run(run, count, options.epochs)
            shown = 1 + sum(1 for _ in run.tensorboard.glob("trial-*"))  # 1 for the experiment
            every = 1 + count + 2
            line = f"{count} trials: the first folder has {shown} runs, shown after "
            line += f"{seconds_to_show(run.tensorboard, shown):.1f} s; the second {every}, after "
            print(f"{line}{seconds_to_show(run.every_tensorboard, every):.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
