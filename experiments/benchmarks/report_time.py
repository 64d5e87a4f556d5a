"""How long the report of a large run takes to build, with a run's trials repeated and jittered.

python -m shiftsearch.experiments.benchmarks.report_time RUN --trials 100
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from shiftsearch.experiments.analysis.run_analysis import analyse_run
from shiftsearch.experiments.definition import load
from shiftsearch.experiments.report.page import write_report
from shiftsearch.experiments.run_folder import Run
from shiftsearch.search.study.records import TrialRecord, stored_trials

BOUND = 10.0
"""The most seconds, analysis included."""


def repeated(trials: Sequence[TrialRecord], count: int) -> list[TrialRecord]:
    """Copies of the given trials, in the same families, with changed values and learning rates."""
    rng = np.random.default_rng(0)
    found = []
    for number, trial in enumerate(islice(cycle(trials), count)):
        shift = number - trial.number
        configuration = dict(trial.configuration)
        for stage in ("baseline", "fine_tune"):
            rate = float(configuration[f"{stage}.learning_rate"])
            configuration[f"{stage}.learning_rate"] = rate * (
                rng.uniform(0.9, 1.1) if shift else 1
            )
        found.append(
            replace(
                trial,
                number=number,
                configuration=configuration,
                value=None if trial.value is None else trial.value * float(rng.uniform(0.95, 1)),
                branch_of=None if trial.branch_of is None else trial.branch_of + shift,
            )
        )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether the bound holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a finished run, read only")
    parser.add_argument("--trials", type=int, default=100)
    options = parser.parse_args(argv)
    run = Run(options.run.absolute())
    trials = repeated(stored_trials(run.journal), options.trials)
    result, space = (
        json.loads(run.result.read_text(encoding="utf-8")),
        load(str(run.definition)).search_space(),
    )
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        wall, processor = time.perf_counter(), time.process_time()
        write_report(result, trials, space, analyse_run(run), page)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        size = page.stat().st_size
    print(f"{len(trials)} trials: {wall:.1f} s, {processor:.1f} s of processor time")
    print(f"{size / 1e3:.0f} kB")
    return 0 if wall <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
