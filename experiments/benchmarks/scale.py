"""What a large search costs the driver, with trials that only wait.

The driver, its study, TensorBoard files, `status.json` and Ray are those of a search; the workers
wait instead of training, so that many fit on one machine with many logical CPUs.

`--trials N --at-once K`: the driver's processor time per trial and its memory, in ten parts of the
search, to see whether they grow. Of the time, the sampler's own part is told beside it.
`--workers 1 2 4 8 16`: trials of fixed length, and how busy they keep the workers: 1 is ideal.

    python -m shiftsearch.experiments.benchmarks.scale --trials 4000 --at-once 64
    python -m shiftsearch.experiments.benchmarks.scale --workers 1 2 4 8 16
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ray.cluster_utils import Cluster
from rich.console import Console

from shiftsearch.experiments.benchmarks.fake_work import wait_instead
from shiftsearch.experiments.benchmarks.study_cost import made_result
from shiftsearch.experiments.benchmarks.turns import circumstances
from shiftsearch.experiments.definition import Experiment, build, default_space, dump
from shiftsearch.experiments.live.board import Board
from shiftsearch.experiments.live.heartbeat import Heartbeat
from shiftsearch.experiments.live.progress import Progress
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.tensorboard.log import TensorBoardLog
from shiftsearch.model.result import STAGES, ProtocolResult
from shiftsearch.search.executing.cluster import cluster
from shiftsearch.search.executing.jobs import End, Job, Listener
from shiftsearch.search.executing.places import Place
from shiftsearch.search.executing.resources import Resources
from shiftsearch.search.executing.trainable import WorkerContext
from shiftsearch.search.executing.tune import run_jobs
from shiftsearch.search.study.study import Study

CLASSES = tuple("abcdef")
PARTS = 10
OWN_COST, BUSY = 0.030, 0.95
"""Bounds: the driver's seconds of processor time per trial without the sampler's, and the busy
fraction of the workers."""


class _Timed(Study):
    """A study that measures the processor time of its questions."""

    asking = 0.0

    def ask(self) -> Job | None:
        begin = time.thread_time()
        try:
            return super().ask()
        finally:
            self.asking += time.thread_time() - begin


@dataclass
class _Watcher:
    """Listens: when each job began and ended, and the driver's costs at its end.

    Attributes:
        gate: a file that it makes once `at_once` jobs are placed; until then the first ones wait.
            Otherwise Ray gives workers that are done to jobs whose own are still starting, and
            starts those in vain.
    """

    study: _Timed
    gate: Path
    at_once: int
    begun: dict[int, float] = field(default_factory=dict)
    ended_at: list[float] = field(default_factory=list)
    costs: list[tuple[float, float, float]] = field(default_factory=list)

    def started(self, job: Job) -> None:
        pass

    def placed(self, job: Job, place: Place) -> None:
        self.begun[job.number] = time.monotonic()
        if len(self.begun) == self.at_once:
            self.gate.touch()

    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        pass

    def ended(self, job: Job, state: End, detail: str, result: ProtocolResult | None) -> None:
        if state != "complete":
            raise RuntimeError(f"{job.name}: {state}, {detail}")
        self.ended_at.append(time.monotonic())
        self.costs.append((time.process_time(), self.study.asking, resident()))


def resident() -> float:
    """The memory of this process that is in RAM, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def made_experiment(trials: int, sampler: str) -> Experiment:
    """The space of `digits6`, with a baseline for each trial."""
    policy = {"branches": 1}
    raw = {"name": "scale", "trials": trials, "sampler": sampler, "policy": policy}
    return build({**raw, "space": default_space()}, "scale")


def search(
    folder: Path, address: str, experiment: Experiment, at_once: int, seconds: float, epochs: int
) -> _Watcher:
    """Run a search whose trials wait, on a cluster; the run's folder is as a user's would be.

    Args:
        folder: a new folder for the run.
        address: of a cluster with at least `at_once` CPUs.
        experiment: the run's experiment.
        at_once: trials at a time.
        seconds: of a trial.
        epochs: reports of each stage.
    """
    run = Run(folder)
    run.folder.mkdir(parents=True)
    run.definition.write_text(dump(experiment), encoding="utf-8")
    settings, identity = experiment.settings(), experiment.identity("scale")
    study = _Timed(run.journal, experiment.search_space(), settings, identity)
    most = {str(stage): epochs for stage in STAGES}
    board = Board(experiment.name, experiment.trials, most, [], settings.objective)
    log = TensorBoardLog(
        *(run.tensorboard, study.space, CLASSES, run.store, study.trial, experiment.protocol),
        settings.objective,
    )
    log.mend([])
    result = made_result(0.5, len(CLASSES)).to_json()
    gate = run.folder / "all-workers-started"
    work = {"seconds": seconds, "epochs": epochs, "result": result, "gate": str(gate)}
    context = WorkerContext("", "", "", json.dumps(work), 0, 1, 0, "float32")
    watcher = _Watcher(study, gate, min(at_once, experiment.trials))
    console = Console(file=(run.folder / "terminal.txt").open("w", encoding="utf-8"))
    with cluster(address, run.ray), Heartbeat(run.status, board) as _:
        progress = Progress(console, board)
        with progress, log:
            progress.phase("search", experiment.trials, 0)
            resources = Resources(1, 0, at_once, "made up")
            heard: list[Listener] = [watcher, progress, log]
            run_jobs(study, heard, context, resources, run.ray, trainable=wait_instead)
        board.close("complete")
    console.file.close()
    return watcher


def costs(watcher: _Watcher) -> tuple[list[str], bool]:
    """A table of the driver's cost by part of the search; whether the bound holds."""
    rows = ["| trials | driver, ms a trial | of it asking | memory, MB |", "| --- " * 4 + "|"]
    marks = watcher.costs
    own = []
    for part in range(PARTS):
        first, last = len(marks) * part // PARTS, len(marks) * (part + 1) // PARTS - 1
        count = max(1, last - first)
        whole, asking = ((marks[last][i] - marks[first][i]) / count for i in (0, 1))
        own.append(whole - asking)
        rows.append(
            f"| {first + 1} to {last + 1} | {1e3 * whole:.1f} | {1e3 * asking:.1f} |"
            f" {marks[last][2]:.0f} |"
        )
    mean = sum(own) / len(own)
    rows.append(f"\nwithout asking: {1e3 * mean:.1f} ms a trial")
    return rows, mean <= OWN_COST


def busy(watcher: _Watcher, workers: int, seconds: float) -> float:
    """The busy fraction of the workers, from when each had ended a trial until one had no more."""
    ends = watcher.ended_at[workers - 1 : len(watcher.ended_at) - workers]
    return (len(ends) - 1) * seconds / workers / (ends[-1] - ends[0])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", help="see above")
    parser.add_argument("--each", type=int, default=12, help="trials of each worker")
    parser.add_argument("--seconds", type=float, default=6.0, help="of a trial")
    parser.add_argument("--epochs", type=int, default=5, help="reports of each stage")
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the run here")
    options = parser.parse_args(argv)
    print(f"\n{circumstances()}\n", flush=True)
    sizes = options.workers or [options.at_once]
    holds = True
    with tempfile.TemporaryDirectory() as made:
        root = (options.keep or Path(made)).absolute()
        nodes = Cluster(
            True, head_node_args={"num_cpus": max(sizes), "object_store_memory": 2**28}
        )
        try:
            for size in sizes:
                trials = options.each * size if options.workers else options.trials
                experiment = made_experiment(trials, options.sampler)
                how = (size, options.seconds, options.epochs)
                found = search(root / f"run-{size}", nodes.address, experiment, *how)
                if options.workers:
                    fraction = busy(found, size, options.seconds)
                    holds &= fraction >= BUSY
                    print(f"{size} workers: {fraction:.3f} busy, {trials} trials", flush=True)
                else:
                    lines, holds = costs(found)
                    print("\n".join(lines), flush=True)
        finally:
            nodes.shutdown()
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
