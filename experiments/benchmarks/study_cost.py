"""The driver's cost of the study per trial, by the number of trials that it holds already.

Makes a journal with many ended trials, baselines with six fine-tunes each, opens it as a continued
run does, and measures the processor time of the questions that follow, without Ray and without
training. The sampler `random` shows the study's own cost, `tpe` what Optuna's model adds. Then it
measures the journal's bytes per trial, by number of classes.

    python -m shiftsearch.experiments.benchmarks.study_cost
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from shiftsearch.model.evaluation import Evaluation
from shiftsearch.model.report import ProtocolReport, StageReport
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.stage import StageResult
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.budget import Budget
from shiftsearch.search.study.journal import open_journal
from shiftsearch.search.study.settings import Settings
from shiftsearch.search.study.study import Study

FAMILY = 6
"""Number of fine-tunes of a baseline."""
_SPACE = Space.parse(
    {
        stage: {
            "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "dropout": {"low": 0.2, "high": 0.6, "step": 0.1},
            "batch_size": {"choices": [32, 64, 128]},
        }
        for stage in ("baseline", "fine_tune")
    }
)


def _open(path: Path, trials: int, sampler: str) -> Study:
    return Study(path, _SPACE, Settings("cost", sampler, 0, Budget(trials)), {})


def make_history(path: Path, trials: int) -> None:
    """A journal with so many complete trials, the first one the reference configuration."""
    study = _open(path, trials, "random")
    job = study.ask()
    assert job is not None
    study.finish(job, made_result(0.5, 6))
    stored = optuna.load_study(
        study_name="cost", storage=open_journal(path), sampler=optuna.samplers.RandomSampler(0)
    )
    domains, root = _SPACE.distributions, 0
    memory = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    baseline: dict[str, Any] = {}
    for number in range(1, trials):
        params = memory.ask(domains).params
        own = {k: v for k, v in params.items() if k.startswith("baseline.")}
        attributes: dict[str, Any] = {"baseline": True}
        if number % FAMILY == 1:
            root, baseline = number, own
        else:
            attributes["branch_of"] = root
        params |= baseline
        value = 0.5 + (number * 7919 % 4999) / 10_000
        attributes |= {
            "configuration": _SPACE.complete(params),
            "result": made_result(value, 6).to_json(),
        }
        trial = create_trial(
            state=TrialState.COMPLETE,
            value=value,
            params=params,
            distributions=domains,
            user_attrs=attributes,
        )
        stored.add_trial(trial)


def made_result(value: float, classes: int) -> ProtocolResult:
    """A whole protocol's, on 90 images of each class."""
    row = tuple(90 // classes + (j % 3) for j in range(classes))
    shares, matrix = (value,) * classes, (row,) * classes
    evaluation = Evaluation(90 * classes, value, 0.7123456789, shares, matrix)
    environment = {"device": "cpu", "dtype": "bfloat16", "threads": 1, "torch": "2.13.0"}
    history = tuple({"epoch": epoch, "seconds": 1.2345} for epoch in range(1, 16))
    stage = StageResult("0" * 32, 15, 12, {}, history, environment)
    report = StageReport(stage, evaluation, evaluation, "report-" + "0" * 32)
    return ProtocolReport(report, report).result


def measure(trials: int, questions: int, sampler: str) -> tuple[float, float, float]:
    """Processor seconds to open a study of this many trials, and medians of ask and finish."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.journal"
        make_history(path, trials)
        begin = time.process_time()
        study = _open(path, trials + questions, sampler)
        opened = time.process_time() - begin
        asks, finishes = [], []
        for number in range(questions):
            begin = time.process_time()
            job = study.ask()
            asked = time.process_time()
            assert job is not None
            study.share(job)
            result = made_result(0.5 + number / 10_000, 6)
            told = time.process_time()
            study.finish(job, result)
            finishes.append(time.process_time() - told)
            asks.append(asked - begin)
    return opened, median(asks), median(finishes)


def journal_bytes(classes: int) -> int:
    """The bytes that the result of one trial adds to the journal."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.journal"
        study = _open(path, 1, "random")
        job = study.ask()
        assert job is not None
        before = path.stat().st_size
        study.finish(job, made_result(0.5, classes))
        return path.stat().st_size - before


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--questions", type=int, default=30)
    parser.add_argument("--samplers", nargs="+", default=["random", "tpe"])
    options = parser.parse_args(argv)
    for sampler in options.samplers:
        for trials in options.trials:
            opened, ask, finish = measure(trials, options.questions, sampler)
            print(
                f"{sampler:7s}{trials:6d} trials: opening {opened:.2f} s, "
                f"ask {1e3 * ask:.2f} ms, finish {1e3 * finish:.2f} ms (medians of "
                f"{options.questions})",
                flush=True,
            )
    for classes in (6, 100):
        print(f"{classes:3d} classes: {journal_bytes(classes)} bytes a trial for its result")
    return 0


if __name__ == "__main__":
    sys.exit(main())
