"""The overhead of Ray and our driver: `shiftsearch search` against two plain processes.

Both sides train the same 24 configurations, the reference and 23 points, two at a time with one
thread each, with an empty store. The plain side has no Ray, no study and no driver: two processes
take configurations from a queue until none is left. Both sides must give the same accuracies, to
the last bit. The time is from the begin of the first epoch to the end of the last trial, so the
start of Ray and Python is not included.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

import numpy as np
import optuna
import yaml

from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.benchmarks.turns import Figure, in_turns, print_figures, spread
from shiftsearch.experiments.definition import Experiment, load
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.device import Device, choose_device
from shiftsearch.model.hyperparameters import Hyperparameters, Schedule, Value
from shiftsearch.model.prepared import ProtocolData, prepare
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.store import Store, open_store
from shiftsearch.search.proposing.space import REFERENCE
from shiftsearch.search.study.journal import open_journal

BOUND = 1.10
PROCESSES = 2
TRIALS, PAIRS, QUICK_EPOCHS = 24, 3, 5


@dataclass(frozen=True)
class Side:
    """One side's run over all configurations.

    Attributes:
        seconds: from the begin of the first epoch to the end of the last trial.
        whole: seconds of the whole command, with start-up, and for ours retraining and report.
        accuracies: `test2_accuracy` of each configuration, in order.
    """

    seconds: float
    whole: float
    accuracies: tuple[float, ...]


def experiment_file(folder: Path, trials: int, max_epochs: int) -> Path:
    """Write the experiment: the reference and `trials` - 1 points, drawn by a fixed seed."""
    rng = np.random.default_rng(0)
    points = [
        {
            "baseline": {
                "learning_rate": float(10 ** rng.uniform(-3.5, -2.5)),
                "dropout": int(rng.integers(1, 7)) / 10,
            },
            "fine_tune": {
                "learning_rate": float(10 ** rng.uniform(-4, -2.5)),
                "frozen_layers": int(rng.integers(0, 5)),
                "augmentation": {"translation": float(rng.integers(0, 4))},
            },
        }
        for _ in range(trials - 1)
    ]
    schedule = {"max_epochs": max_epochs}
    content = {
        "trials": trials,
        "protocol": {"baseline": schedule, "fine_tune": schedule},
        "space": {
            "baseline": {
                "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
                "dropout": {"low": 0.1, "high": 0.6, "step": 0.1},
            },
            "fine_tune": {
                "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
                "frozen_layers": {"low": 0, "high": 4},
                "augmentation": {"translation": {"low": 0, "high": 3, "step": 1}},
            },
        },
        "points": points,
        # The defaults for two cores, set here so that both sides are alike on any machine.
        "resources": {"cpus_per_trial": 1, "gpus_per_trial": 0, "concurrency": PROCESSES},
        "retrain": {"top_k": 1, "replicates": 1},
        "export": {"formats": []},
        "keep": "all",  # the times of all baselines are read afterwards
    }
    path = folder / "overhead.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def search_side(path: Path) -> Side:
    """Run `shiftsearch search` on the experiment file; times are from the study and the store."""
    command = Path(sys.executable).parent / "shiftsearch"
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run")
        begin = time.time()
        done = subprocess.run(
            [command, "search", path, "--run", run.folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        whole = time.time() - begin
        if done.returncode != 0:
            raise RuntimeError(f"shiftsearch ended with {done.returncode}:\n{done.stdout}")
        trials = optuna.load_study(
            study_name=load(str(path)).name, storage=open_journal(run.journal)
        ).get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        results = [ProtocolResult.from_json(trial.user_attrs["result"]) for trial in trials]
        ends = [t.datetime_complete.timestamp() for t in trials if t.datetime_complete]
        start = _first_epoch(run.store, results)
    return Side(max(ends) - start, whole, tuple(r.test2_accuracy for r in results))


def plain_side(path: Path) -> Side:
    """Train the same configurations in `PROCESSES` processes without Ray."""
    configurations = [dict(REFERENCE), *load(str(path)).checked_points()]
    context = mp.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        begin = time.time()
        ready = context.Barrier(PROCESSES)
        with ProcessPoolExecutor(PROCESSES, context, _get_ready, (path, ready)) as pool:
            ended = list(pool.map(partial(_train, path, Path(folder)), configurations))
        whole = time.time() - begin
        start = _first_epoch(open_store(folder), [result for result, _ in ended])
    accuracies = tuple(result.test2_accuracy for result, _ in ended)
    return Side(max(end for _, end in ended) - start, whole, accuracies)


def _get_ready(path: Path, ready: Barrier) -> None:
    """Prepare a plain process; all begin together."""
    # As Ray does with its workers, so that other work on the machine slows both sides alike.
    os.nice(int(os.environ.get("RAY_worker_niceness", "15")))  # noqa: SIM112, Ray's own name
    _workbench(path)
    ready.wait()


@cache
def _workbench(path: Path) -> tuple[Experiment, Device, ProtocolData]:
    """The data, store and device of a plain process."""
    experiment = load(str(path))
    device = choose_device(cpus=1, gpus=0, dtype=experiment.dtype)
    device.apply()
    dataset = synthesize(experiment.synthetic.seed, experiment.synthetic.size)
    return experiment, device, prepare(dataset, experiment.protocol, device)


def _train(
    path: Path, folder: Path, configuration: Mapping[str, Value]
) -> tuple[ProtocolResult, float]:
    """One configuration: its result, and when it was done."""
    experiment, device, data = _workbench(path)
    hyperparameters = Hyperparameters.from_flat(configuration)
    protocol, store = experiment.protocol, open_store(folder)
    report = run_protocol(
        ProtocolRun(hyperparameters, data, protocol, store, device, seed=experiment.seed)
    )
    return report.result, time.time()


def _first_epoch(store: Store, results: Sequence[ProtocolResult]) -> float:
    """When the first epoch of all began: when the earliest baseline was stored less its epochs."""
    begins: list[float] = []
    for result in results:
        baseline = result.baseline
        begins.append(store.published(baseline.course, "final") - baseline.seconds)
    return min(begins)


def measure(trials: int, max_epochs: int, pairs: int) -> list[Figure]:
    """The figures over this many pairs of runs.

    Raises:
        RuntimeError: a side failed, or the accuracies of the sides differ.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = experiment_file(Path(folder), trials, max_epochs)
        results = in_turns(
            {
                "search": lambda _: _told("shiftsearch search", search_side(path)),
                "plain": lambda _: _told("two plain processes", plain_side(path)),
            },
            pairs,
        )
    both = list(zip(results["search"], results["plain"], strict=True))
    for turn, (search, plain) in enumerate(both):
        if search.accuracies != plain.accuracies:
            raise RuntimeError(
                f"turn {turn}: the sides differ, so their times say nothing:\n"
                f"search {search.accuracies}\nplain  {plain.accuracies}"
            )
    ratios = [search.seconds / plain.seconds for search, plain in both]
    n = f"{pairs} pairs of {trials} trials"
    apart = [search.whole - search.seconds for search, _ in both]
    return [
        Figure("shiftsearch search: seconds", spread([s.seconds for s, _ in both], ".1f"), n),
        Figure("two plain processes: seconds", spread([p.seconds for _, p in both], ".1f"), n),
        Figure(
            "seconds of shiftsearch search over two plain processes, without start-up",
            spread(ratios, ".3f"),
            n,
            f"median at most {BOUND:.2f}",
            median(ratios) <= BOUND,
        ),
        Figure(
            "start of Ray, two retrainings, export and report, not in the ratio: seconds",
            spread(apart, ".1f"),
            n,
        ),
    ]


def _told(name: str, side: Side) -> Side:
    print(f"{name}: {side.seconds:.1f} s, the whole command {side.whole:.1f} s", flush=True)
    return side


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether the bound holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    epochs = Schedule().max_epochs
    parser.add_argument("--full", action="store_true", help=f"at most {epochs} epochs a stage")
    parser.add_argument("--trials", type=int, default=TRIALS, help="the reference and points")
    parser.add_argument("--epochs", type=int, help=f"a stage's most, default {QUICK_EPOCHS}")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    options = parser.parse_args(argv)
    if options.trials < PROCESSES:
        parser.error(f"--trials is {options.trials}, but must be at least {PROCESSES}")
    max_epochs = options.epochs or (epochs if options.full else QUICK_EPOCHS)
    return print_figures(measure(options.trials, max_epochs, options.pairs))


if __name__ == "__main__":
    raise SystemExit(main())
