"""Record trials for replay: baselines with several fine-tunes each, curves and seconds.

The first baseline is the reference configuration's. All others are drawn at random from the
experiment's space, with several fine-tunes each. The first fine-tune is also made from the
baseline after a few epochs. The work is shared by processes with one thread each. Seconds
are processor time, which other work on the machine affects least. Baselines that are recorded
already are kept, so the same command continues after a break. Unlike a search, this scores the
held-out part.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna

from shiftsearch.data.cache import open_dataset
from shiftsearch.data.dataset import Dataset
from shiftsearch.data.synthetic import synthesize
from shiftsearch.data.tensors import changed, to_device
from shiftsearch.experiments.definition import Experiment, load
from shiftsearch.model.device import choose_device
from shiftsearch.model.engine import TensorSplit
from shiftsearch.model.evaluation import evaluate
from shiftsearch.model.hyperparameters import Hyperparameters, Value
from shiftsearch.model.prepared import division_of, prepare
from shiftsearch.model.protocol import ProtocolRun, build
from shiftsearch.model.stage import StageResult
from shiftsearch.model.store import Store, open_store
from shiftsearch.search.proposing.sobol import question_seed
from shiftsearch.search.proposing.space import REFERENCE, Space
from shiftsearch.search.rehearsing.recording import (
    RecordedBaseline,
    RecordedFineTune,
    read_recording,
    write_recording,
)
from shiftsearch.search.study.records import stage_values

BUDGETS = (1, 3)


class Recorder:
    """Trains and records baselines in one process."""

    def __init__(self, experiment: Experiment, dataset: Dataset) -> None:
        self.experiment, protocol = experiment, experiment.protocol
        self.space = experiment.search_space()
        self.device = choose_device(cpus=1, gpus=0)
        self.device.apply()
        self.data = prepare(dataset, protocol, self.device)
        division = division_of(dataset, protocol)
        held_out = dataset.splits["TEST2"].take(division.held_out)
        self.held_out = TensorSplit(*to_device(held_out, self.device.torch_device), "")

    def baseline(
        self, configurations: Sequence[dict[str, Value]], budgets: Sequence[int]
    ) -> RecordedBaseline:
        """Record the configurations that share a baseline."""
        with tempfile.TemporaryDirectory() as folder:
            store = open_store(folder)
            seconds: list[float] = []
            runs = [self._run(configuration, store, seconds) for configuration in configurations]
            looks: dict[int, float] = {}
            fine_tunes: list[RecordedFineTune] = []
            for epochs in budgets:
                first = runs[0].baseline(until=epochs)
                if first.finished:
                    break
                looks[epochs] = round(runs[0].report(first).test2.accuracy, 5)
                fine_tunes.append(self._fine_tune(runs[0], configurations[0], first, epochs))
            first = runs[0].baseline()
            looks[0] = round(runs[0].report(first).test2.accuracy, 5)
            for run, configuration in zip(runs, configurations, strict=True):
                fine_tunes.append(self._fine_tune(run, configuration, first, 0))
        return RecordedBaseline(
            self._searched(configurations[0], "baseline"),
            [round(sum(seconds[: i + 1]), 3) for i in range(len(seconds))],
            looks,
            fine_tunes,
        )

    def _searched(self, configuration: dict[str, Value], stage: str) -> dict[str, Value]:
        values, searched = stage_values(configuration, stage), self.space.distributions
        return {name: value for name, value in values.items() if name in searched}

    def _run(
        self, configuration: dict[str, Value], store: Store, seconds: list[float]
    ) -> ProtocolRun:
        hyperparameters = Hyperparameters.from_flat(configuration)
        protocol, seed = self.experiment.protocol, self.experiment.seed
        last = time.process_time()

        def on_epoch(stage: str, row: Mapping[str, float]) -> None:
            nonlocal last
            now = time.process_time()
            if stage == "baseline" and row["epoch"] > len(seconds):
                # A stage's first epoch after other work: restart the clock.
                seconds.append(min(now - last, row["seconds"]))
            last = now

        return ProtocolRun(
            hyperparameters, self.data, protocol, store, self.device, seed=seed, on_epoch=on_epoch
        )

    def _fine_tune(
        self, run: ProtocolRun, configuration: dict[str, Value], first: StageResult, start: int
    ) -> RecordedFineTune:
        begin = time.process_time()
        report = run.fine_tuned(first)
        result = report.result
        seconds = time.process_time() - begin
        data = self.data
        hyperparameters = Hyperparameters.from_flat(configuration)
        architecture = hyperparameters.network.architecture
        network = build(result.weights, data.classes, data.image_size, self.device, architecture)
        held_out = None
        if len(self.held_out.labels):
            images = changed(self.held_out.images, hyperparameters.preprocessing.apply)
            scored = evaluate(network, images, self.held_out.labels)
            held_out = round(scored.accuracy, 5)
        return RecordedFineTune(
            self._searched(configuration, "fine_tune"),
            start,
            round(report.test2.accuracy, 5),
            held_out,
            round(seconds, 3),
            [round(row["validation_accuracy"], 4) for row in result.history],
        )


def design(space: Space, seed: int, baseline: int, branches: int) -> list[dict[str, Value]]:
    """The configurations that share a baseline; the very first is the reference."""
    sampler = optuna.samplers.RandomSampler(seed=question_seed(seed, baseline))
    study = optuna.create_study(sampler=sampler)
    drawn = [space.suggest(study.ask()) for _ in range(branches)]
    if baseline == 0:
        drawn[0] = dict(REFERENCE)
    shared = stage_values(drawn[0], "baseline")
    return [configuration | shared for configuration in drawn]


def _record(
    number: int, options: argparse.Namespace, seed: int, recorders: list[Recorder]
) -> None:
    path = options.out / f"baseline-{number:04d}.jsonl"
    if path.exists():
        return
    if not recorders:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        recorders.append(Recorder(load(options.experiment), _dataset(options)))
    recorder = recorders[0]
    begin = time.perf_counter()
    drawn = design(recorder.space, seed, number, options.branches)
    recorded = recorder.baseline(drawn, BUDGETS)
    beside = path.with_suffix(".writing")
    write_recording(beside, [recorded])
    beside.replace(path)
    values = [f"{f.value:.3f}" for f in recorded.fine_tunes]
    print(
        f"baseline {number}: {recorded.seconds[-1]:.1f} s, fine-tunes {' '.join(values)}, "
        f"{time.perf_counter() - begin:.1f} s in all",
        flush=True,
    )


def _work(queue: multiprocessing.Queue[int | None], options: argparse.Namespace) -> None:
    recorders: list[Recorder] = []
    while (number := queue.get()) is not None:
        _record(number, options, options.seed, recorders)


def _dataset(options: argparse.Namespace) -> Dataset:
    return open_dataset(options.data)[0] if options.data else synthesize()


def main(argv: Sequence[str] | None = None) -> int:
    """Record, then join the parts into one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", help="a shipped name or a file: space and protocol")
    parser.add_argument("--data", type=Path, metavar="DIR", help="default: the synthetic set")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--baselines", type=int, default=50)
    parser.add_argument("--branches", type=int, default=4, help="fine-tunes of each baseline")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    _dataset(options)  # a wrong folder is reported before any process starts
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    for item in (*range(options.baselines), *[None] * options.processes):
        queue.put(item)
    workers = [
        context.Process(target=_work, args=(queue, options)) for _ in range(options.processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    parts = sorted(options.out.glob("baseline-*.jsonl"))
    recording = [baseline for part in parts for baseline in read_recording(part)]
    write_recording(options.out / "recording.jsonl", recording)
    count = sum(f.start == 0 for b in recording for f in b.fine_tunes)
    print(f"{options.out / 'recording.jsonl'}: {len(recording)} baselines, {count} configurations")
    return 0 if len(parts) == options.baselines else 1


if __name__ == "__main__":
    raise SystemExit(main())
