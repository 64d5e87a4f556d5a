"""What Ray and our driver cost: `shiftsearch search` against two plain processes.

Both sides put the same 24 configurations, the reference and 23 points, through the protocol, two
at a time with one thread each, into a fresh store. The plain side has no Ray, no study and no
driver: two processes take the next configuration from a queue until none is left. Both must come
to the same accuracies, to the last bit. The time of a side is from the first epoch's begin to the
last trial's end, so the start of Ray and of Python on either side stands apart.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
import yaml

from data.synthetic import synthesize
from experiments.benchmarks.turns import Figure, in_turns, print_figures, spread
from experiments.definition import Experiment, load
from experiments.folder import Run
from model.device import choose_device
from model.hyperparameters import Hyperparameters, Schedule, Value
from model.protocol import prepare, run_protocol
from model.store import Store
from search.journal import open_journal
from search.space import REFERENCE

BOUND = 1.10
PROCESSES = 2
TRIALS, PAIRS, QUICK_EPOCHS = 24, 3, 5


@dataclass(frozen=True)
class Side:
    """One side's run over all configurations.

    Attributes:
        seconds: from the first epoch's begin to the last trial's end.
        whole: of the whole command by the clock: start-up, and for ours retraining and report.
        accuracies: `test2_accuracy` of each configuration, in their order.
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
        # What two cores get by default; said here so that both sides are alike on any machine.
        "resources": {"cpus_per_trial": 1, "gpus_per_trial": 0, "concurrency": PROCESSES},
        "retrain": {"top_k": 1, "replicates": 1},
    }
    path = folder / "overhead.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def search_side(path: Path) -> Side:
    """`shiftsearch search` on the experiment file; times from the study and the store."""
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
        results = [trial.user_attrs["result"] for trial in trials]
        ends = [t.datetime_complete.timestamp() for t in trials if t.datetime_complete]
        start = _first_epoch(Store(run.store), results)
    return Side(max(ends) - start, whole, tuple(r["test2_accuracy"] for r in results))


def plain_side(path: Path) -> Side:
    """The same configurations in `PROCESSES` processes without Ray."""
    experiment = load(str(path))
    configurations = [dict(REFERENCE), *experiment.checked_points()]
    context = mp.get_context("spawn")
    tasks: mp.Queue[tuple[int, dict[str, Value]] | None] = context.Queue()
    answers: mp.Queue[tuple[int, dict[str, Any], float]] = context.Queue()
    for task in [*enumerate(configurations), *[None] * PROCESSES]:
        tasks.put(task)
    ready = context.Barrier(PROCESSES)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.time()
        arguments = (experiment, Path(folder), tasks, answers, ready)
        workers = [context.Process(target=_work, args=arguments) for _ in range(PROCESSES)]
        for worker in workers:
            worker.start()
        by_number = {}
        ends = []
        for _ in configurations:
            number, result, end = answers.get(timeout=3600)
            by_number[number] = result
            ends.append(end)
        for worker in workers:
            worker.join()
        whole = time.time() - begin
        results = [by_number[number] for number in range(len(configurations))]
        start = _first_epoch(Store(Path(folder)), results)
    return Side(max(ends) - start, whole, tuple(r["test2_accuracy"] for r in results))


def _work(
    experiment: Experiment,
    folder: Path,
    tasks: mp.Queue[tuple[int, dict[str, Value]] | None],
    answers: mp.Queue[tuple[int, dict[str, Any], float]],
    ready: Barrier,
) -> None:
    """A plain process: one configuration after the other, as a Ray worker would do them."""
    device = choose_device(cpus=1, gpus=0, dtype=experiment.dtype)
    device.apply()
    dataset = synthesize(experiment.synthetic.seed, experiment.synthetic.size)
    data = prepare(dataset, experiment.protocol, device)
    ready.wait()
    while (task := tasks.get()) is not None:
        number, configuration = task
        result = run_protocol(
            Hyperparameters.from_flat(configuration),
            data,
            experiment.protocol,
            Store(folder),
            device,
            seed=experiment.seed,
        )
        answers.put((number, result.to_json(), time.time()))


def _first_epoch(store: Store, results: Sequence[Mapping[str, Any]]) -> float:
    """When the first epoch of all began: the earliest baseline's file time less its epochs."""
    begins: list[float] = []
    for result in results:
        course = result["baseline"]["key"].rpartition("-")[0]
        end = store.path(course, "final").stat().st_mtime
        begins.append(end - result["baseline"]["seconds"])
    return min(begins)


def measure(trials: int, max_epochs: int, pairs: int) -> list[Figure]:
    """The figures over so many pairs of runs.

    Raises:
        RuntimeError: a side failed, or both came to different accuracies.
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
            "seconds of shiftsearch search over two plain processes, start-up apart",
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
    max_epochs = options.epochs or (epochs if options.full else QUICK_EPOCHS)
    return print_figures(measure(options.trials, max_epochs, options.pairs))


if __name__ == "__main__":
    raise SystemExit(main())
