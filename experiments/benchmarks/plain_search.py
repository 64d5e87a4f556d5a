"""The search that an engineer writes from the documentation of Ray Tune, Optuna and PyTorch.

It uses OptunaSearch with its default sampler over the space of digits6. Ray Tune runs `plain_loop`
with one CPU and one thread per trial and one report per epoch; each trial saves its final weights
in its folder. `--asha` adds Ray's ASHAScheduler with its defaults, on the epochs of both stages.
Trials are ranked by TEST2's selection part. After the search, outside of the measured time, the
saved weights are scored on the held-out part for `OUT/timeline.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from shiftsearch.data.cache import open_dataset
from shiftsearch.data.dataset import Dataset
from shiftsearch.data.publishing import write_atomically
from shiftsearch.experiments.benchmarks.plain_loop import (
    ImageSet,
    PlainNetwork,
    evaluate,
    train_stage,
)
from shiftsearch.experiments.benchmarks.timelines import TIMELINE
from shiftsearch.experiments.definition import load
from shiftsearch.model.device import available_cpus
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.prepared import division_of
from shiftsearch.search.proposing.space import Space

METRIC, WEIGHTS = "test2_accuracy", "weights.pt"


@dataclass(frozen=True)
class Task:
    """The arguments of every trial besides its configuration.

    Attributes:
        train, test, test2: TRAIN, TEST, and the selection part of TEST2.
        classes: number of classes.
        image_size: (H, W) in pixels.
        space: completes a configuration.
        protocol: the stages' schedules.
        seed: the seed of every trial.
        asha: whether ASHA reads the metric.
    """

    train: ImageSet
    test: ImageSet
    test2: ImageSet
    classes: int
    image_size: tuple[int, int]
    space: Space
    protocol: Protocol
    seed: int
    asha: bool

    def network(self) -> PlainNetwork:
        """A new network; each stage has its own dropout."""
        return PlainNetwork(self.classes, self.image_size, dropout=0.0)


def train_trial(config: Mapping[str, Any], task: Task) -> None:
    """Both stages of one configuration, with a report after each epoch of either."""
    torch.set_num_threads(1)
    torch.manual_seed(task.seed)
    settings = Hyperparameters.from_flat(task.space.complete(config))
    network = task.network()
    progress: dict[str, float] = {
        "baseline_epochs": 0,
        "fine_tune_epochs": 0,
        "baseline_seconds": 0.0,
        "fine_tune_seconds": 0.0,
    }

    def reporter(stage: str, test2_accuracy: Callable[[float], float]) -> Any:
        """The function that `train_stage` calls after each epoch; it reports to Ray.

        The stage's time is counted from this call.

        Args:
            stage: the stage that is reported.
            test2_accuracy: the metric, from the best accuracy on the stage's own validation split.
        """
        begin = time.perf_counter()

        def report(accuracy: float, best: float) -> None:
            progress[f"{stage}_epochs"] += 1
            metric = test2_accuracy(best)
            progress[f"{stage}_seconds"] = time.perf_counter() - begin
            tune.report({f"{stage}_accuracy": accuracy, METRIC: metric, **progress})

        return report

    def before_fine_tuning(_: float) -> float:
        # ASHA compares the reports after epochs 1 and 4; without this they would be zeros.
        return evaluate(network, task.test2)[1] if task.asha else 0.0

    network.dropout.p = settings.baseline.dropout
    report = reporter("baseline", before_fine_tuning)
    train_stage(network, task.train, task.test, settings.baseline, task.protocol.baseline, report)
    network.dropout.p = settings.fine_tune.dropout
    # The best epoch's accuracy, because the stage keeps that epoch's weights.
    report = reporter("fine_tune", lambda best: best)
    train_stage(
        network, task.test, task.test2, settings.fine_tune, task.protocol.fine_tune, report
    )
    torch.save(network.state_dict(), Path(tune.get_context().get_trial_dir()) / WEIGHTS)


class Clock(tune.Callback):  # type: ignore[misc]
    """When the driver started and ended each trial, by Ray's id; the order of starting."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.begins: dict[str, float] = {}
        self.ends: dict[str, float] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Number the trial."""
        self.numbers.setdefault(trial.trial_id, len(self.numbers))
        self.begins[trial.trial_id] = time.time()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Record the end of a trial that is done or was stopped."""
        self.ends[trial.trial_id] = time.time()


def search(task: Task, trials: int, folder: Path, clock: Clock) -> tune.ResultGrid:
    """Run the search."""
    protocol = task.protocol
    # One above the longest trial. At its length the rungs would be the same, but ASHA would stop
    # a trial at its last report, before it saves its weights.
    max_t = protocol.baseline.max_epochs + protocol.fine_tune.max_epochs + 1
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train_trial, task=task), {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(
                task.space.distributions, metric=METRIC, mode="max", seed=task.seed
            ),
            scheduler=ASHAScheduler(metric=METRIC, mode="max", max_t=max_t) if task.asha else None,
            num_samples=trials,
        ),
        run_config=tune.RunConfig(storage_path=str(folder), callbacks=[clock]),
    )
    return tuner.fit()


def rows(
    results: tune.ResultGrid, task: Task, held_out: ImageSet, clock: Clock, started: float
) -> list[dict[str, Any]]:
    """A row per ended trial, by number; without a held-out accuracy if ASHA stopped it."""
    found = []
    for result in results:
        if result.error is not None:
            print(f"{result.path}: failed, and is left out: {result.error}")
            continue
        metrics, path = result.metrics, Path(result.path) / WEIGHTS
        accuracy = None
        if path.exists():
            network = task.network()
            network.load_state_dict(torch.load(path, weights_only=True))
            accuracy = evaluate(network, held_out)[1]
        trial = metrics["trial_id"]
        row = {
            "number": clock.numbers[trial],
            "configuration": task.space.complete(result.config),
            "ended": clock.ends[trial] - started,
            "seconds": clock.ends[trial] - clock.begins[trial],
        }
        row |= {
            f"{stage}_{what}": metrics[f"{stage}_{what}"]
            for stage in ("baseline", "fine_tune")
            for what in ("epochs", "seconds")
        }
        row |= {
            "selection": metrics[METRIC],
            "held_out": accuracy,
            "stopped_early": accuracy is None,
        }
        found.append(row)
    return sorted(found, key=lambda row: row["number"])


def main(argv: Sequence[str] | None = None) -> int:
    """Search, score, write the timeline."""
    begin = time.time()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--asha", action="store_true", help="stop by ASHAScheduler on epochs")
    parser.add_argument(
        "--started",
        type=float,
        default=begin,
        metavar="SECONDS",
        help="Unix time at which this process was launched; without it, imports are not counted",
    )
    options = parser.parse_args(argv)
    folder = options.out.absolute()
    ray.init(num_cpus=available_cpus())
    experiment = load("digits6")
    dataset, _ = open_dataset(options.data)
    task, held_out = prepare(
        dataset, experiment.search_space(), experiment.protocol, options.seed, options.asha
    )
    clock = Clock()
    results = search(task, options.trials, folder, clock)
    timeline = {
        "started": options.started,
        "trials": rows(results, task, held_out, clock, options.started),
    }
    write_atomically(folder / TIMELINE, json.dumps(timeline, indent=1).encode())
    return 0


def prepare(
    dataset: Dataset, space: Space, protocol: Protocol, seed: int, asha: bool
) -> tuple[Task, ImageSet]:
    """The trials' task, which excludes the held-out part of TEST2, and that part."""
    splits, division = dataset.splits, division_of(dataset, protocol)
    task = Task(
        ImageSet(splits["TRAIN"]),
        ImageSet(splits["TEST"]),
        ImageSet(splits["TEST2"].take(division.selection)),
        len(dataset.classes),
        dataset.image_size,
        space,
        protocol,
        seed,
        asha,
    )
    return task, ImageSet(splits["TEST2"].take(division.held_out))


if __name__ == "__main__":
    raise SystemExit(main())
