"""Time to target: `shiftsearch search` against the plain search on digits6, in pairs by seed.

Both sides run as separate processes on the same two cores, one after the other, the plain search
first on even seeds. A side's time begins with the launch of its process; the end of each trial is
recorded. Its incumbent is the trial that is best on TEST2's selection part so far; the time
to target is the end of the first incumbent whose accuracy on the held-out part is the target or
more. The searches never see that part: it is scored here, afterwards, from stored weights. The
targets are the median over seeds of the plain searches' final incumbents, and 97 %.

Runs that FOLDER already holds are not repeated: `plain-SEED/timeline.json`, finished `ours-SEED`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import optuna

from shiftsearch.data.cache import open_dataset
from shiftsearch.data.publishing import write_atomically
from shiftsearch.data.tensors import changed
from shiftsearch.experiments.benchmarks.timelines import (
    TIMELINE,
    Bounds,
    Timeline,
    bounds_of_time,
    incumbents_of,
    median_bounds,
    ratio,
    read_timeline,
    spread_of_bounds,
)
from shiftsearch.experiments.benchmarks.turns import Figure, print_figures, spread
from shiftsearch.experiments.definition import load
from shiftsearch.experiments.outcome.kept import weights_of
from shiftsearch.experiments.outcome.results import parts_of
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.device import choose_device
from shiftsearch.model.evaluation import evaluate
from shiftsearch.model.hyperparameters import Hyperparameters
from shiftsearch.model.protocol import build
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.study.journal import open_journal

CPUS = 2
PAIRS, TRIALS, OUR_TRIALS = 3, 16, 30
PLAIN, OURS = "plain script", "ours"
SETTINGS = (
    "retrain.top_k=1",
    "retrain.replicates=1",
    "export.formats=[]",
    # The defaults for two cores, set here so that both sides are alike on any machine.
    "resources.cpus_per_trial=1",
    "resources.gpus_per_trial=0",
    f"resources.concurrency={CPUS}",
)
EASY_TARGET = 0.97
HARD_BOUND, EASY_BOUND = 10.0, 5.0


def plain(data: Path, folder: Path, seed: int, trials: int) -> Timeline:
    """The plain search's timeline; the search is run if there is none."""
    out = folder / f"plain-{seed}"
    if not (out / TIMELINE).exists():
        command = [sys.executable, "-m", "shiftsearch.experiments.benchmarks.plain_search"]
        options = {"data": data, "trials": trials, "seed": seed, "out": out}
        command += [f"--{name}={value}" for name, value in options.items()]
        _launch([*command, f"--started={time.time()}"], folder / f"plain-{seed}.log")
    return read_timeline(out / TIMELINE)


def ours(data: Path, folder: Path, seed: int, trials: int) -> Timeline:
    """Our search's timeline; the search is run if there is none.

    Raises:
        FileExistsError: the run was interrupted; if it were continued, its times would be wrong.
    """
    run, path = Run(folder / f"ours-{seed}"), folder / f"ours-{seed}.json"
    started = folder / f"ours-{seed}.started"
    if not run.result.exists():
        if run.folder.exists():
            raise FileExistsError(f"{run.folder}: holds a run that was cut off; remove it")
        command = [str(Path(sys.executable).parent / "shiftsearch"), "search", "digits6"]
        command += ["--data", str(data), "--run", str(run.folder), "--trials", str(trials)]
        command += ["--set", f"seed={seed}", "--set", "keep=all"]  # for the score afterwards
        command += [part for setting in SETTINGS for part in ("--set", setting)]
        path.unlink(missing_ok=True)
        started.write_text(str(time.time()), encoding="utf-8")
        _launch(command, folder / f"ours-{seed}.log")
    if not path.exists():
        timeline = score(run, float(started.read_text(encoding="utf-8")))
        write_atomically(path, json.dumps(timeline, indent=1).encode())
    return read_timeline(path)


def _launch(command: Sequence[str], log: Path) -> None:
    """Run a side to its end.

    Raises:
        RuntimeError: it failed.
    """
    print(f"{' '.join(command)} > {log}", flush=True)
    with log.open("w", encoding="utf-8") as output:
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT).returncode
    if code != 0:
        raise RuntimeError(f"{command[0]} ended with {code}; see {log}")


def score(run: Run, started: float) -> dict[str, Any]:
    """Our run's timeline: complete trials, scored on the held-out part from stored weights."""
    experiment = load(str(run.definition))
    dataset, _ = open_dataset(Path(experiment.data))
    device = choose_device(cpus=CPUS, gpus=0, dtype="float32")
    device.apply()
    held_out = next(
        part for part in parts_of(dataset, experiment.protocol, device) if part.name == "held-out"
    )
    study = optuna.load_study(study_name=experiment.name, storage=open_journal(run.journal))
    rows = []
    for trial in study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
        if trial.datetime_complete is None:
            raise ValueError(f"{run.journal}: trial {trial.number} is complete without a time")
        weights = weights_of(
            run.store, ProtocolResult.from_json(trial.user_attrs["result"]), "fine_tune"
        )
        found = Hyperparameters.from_flat(trial.user_attrs["configuration"])
        size, classes = dataset.image_size, len(dataset.classes)
        network = build(weights, classes, size, device, found.network.architecture)
        images = changed(held_out.images, found.preprocessing.apply)
        rows.append(
            {
                "number": trial.number,
                "ended": trial.datetime_complete.timestamp() - started,
                "selection": trial.value,
                "held_out": evaluate(network, images, held_out.labels).accuracy,
            }
        )
    return {"started": started, "trials": rows}


def final_accuracy(timeline: Timeline) -> float:
    """The last incumbent's accuracy on the held-out part, 0..1."""
    return incumbents_of(timeline)[-1].held_out


def compare(sides: Mapping[str, Sequence[Timeline]]) -> list[Figure]:
    """The figures of `PLAIN` and `OURS`, whose timelines are paired by seed."""
    n = f"{len(sides[PLAIN])} pairs"
    finals = {name: [final_accuracy(t) for t in each] for name, each in sides.items()}
    figures = [
        Figure(f"{name}: final incumbent, held out", spread(each, ".2%"), n)
        for name, each in finals.items()
    ]
    for target, least in ((median(finals[PLAIN]), HARD_BOUND), (EASY_TARGET, EASY_BOUND)):
        times = {name: [bounds_of_time(t, target) for t in each] for name, each in sides.items()}
        figures += [
            Figure(f"{name}: seconds to {target:.2%}", spread_of_bounds(each, ".0f"), n)
            for name, each in times.items()
        ]
        ratios = [ratio(*pair) for pair in zip(times[PLAIN], times[OURS], strict=True)]
        figures.append(
            Figure(
                f"how many times sooner ours is at {target:.2%}",
                spread_of_bounds(ratios),
                n,
                f"median at least {least:g}",
                median_bounds(ratios).low >= least,
            )
        )
        _print_pairs(target, times, ratios)
    return figures


def _print_pairs(
    target: float, times: Mapping[str, Sequence[Bounds]], ratios: Sequence[Bounds]
) -> None:
    print(f"\n| {target:.2%} held out | {PLAIN} | {OURS} | times sooner |")
    print("| --- | --- | --- | --- |")
    for seed, (slow, fast, sooner) in enumerate(
        zip(times[PLAIN], times[OURS], ratios, strict=True)
    ):
        print(f"| seed {seed} | {_seconds(slow)} | {_seconds(fast)} | {sooner.text()} |")


def _seconds(time_to: Bounds) -> str:
    known = time_to.low == time_to.high
    return f"{time_to.low:.0f} s" if known else f"not reached within {time_to.low:.0f} s"


def _told(name: str, seed: int, timeline: Timeline) -> Timeline:
    last = incumbents_of(timeline)[-1]
    print(
        f"seed {seed}, {name}: {len(timeline.trials)} trials in "
        f"{max(t.seconds for t in timeline.trials):.0f} s; the last incumbent, from "
        f"{last.seconds:.0f} s: selection {last.selection:.2%}, held out {last.held_out:.2%}",
        flush=True,
    )
    return timeline


def main(argv: Sequence[str] | None = None) -> int:
    """Run missing searches and print the figures; the exit code says whether both bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="digits6")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="seeds 0, 1, ...")
    parser.add_argument("--trials", type=int, default=TRIALS, help="of the plain search")
    parser.add_argument("--ours-trials", type=int, default=OUR_TRIALS)
    options = parser.parse_args(argv)
    if options.pairs < 1:
        parser.error(f"--pairs is {options.pairs}, but must be at least 1")
    if hasattr(os, "sched_setaffinity"):  # both sides inherit it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CPUS])
    data, folder = options.data.absolute(), options.out.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    sides: dict[str, list[Timeline]] = {PLAIN: [], OURS: []}
    for seed in range(options.pairs):
        runs = {
            PLAIN: partial(plain, data, folder, seed, options.trials),
            OURS: partial(ours, data, folder, seed, options.ours_trials),
        }
        for name in (PLAIN, OURS) if seed % 2 == 0 else (OURS, PLAIN):
            sides[name].append(_told(name, seed, runs[name]()))
    return print_figures(compare(sides))


if __name__ == "__main__":
    raise SystemExit(main())
