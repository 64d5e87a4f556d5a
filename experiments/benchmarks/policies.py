"""Time to target by replay: the plain script, its variants, and our search with and without parts.

Every method is replayed on the same recording with the same study seeds. The time until its
incumbent, chosen on the selection part, reaches a target on the held-out part is compared by
medians with bootstrap intervals. The plain script's trials take `--plain` times as long as ours;
`time_to_target.py` measures this factor on real runs.
"""

from __future__ import annotations

import argparse
import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna

from shiftsearch.experiments.benchmarks.turns import Figure, print_figures
from shiftsearch.experiments.definition import load
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.sobol import question_seed
from shiftsearch.search.proposing.space import REFERENCE, Space
from shiftsearch.search.rehearsing.recording import read_recording
from shiftsearch.search.rehearsing.replay import Replayed, Workers, replay, time_to_value
from shiftsearch.search.rehearsing.surrogate import Expected, Surrogate
from shiftsearch.search.study.budget import Budget
from shiftsearch.search.study.settings import Settings

ALONE = Policy(branches=1)
PLAIN_TRIALS, MOST_TRIALS = 16, 48
RESAMPLES = 2000
Search = Callable[[int], list[Replayed]]


@dataclass(frozen=True)
class Costs:
    """Times that replay assumes, from real runs on the machine.

    Attributes:
        start: seconds from launch to the first trial's first step.
        per_trial: seconds between two trials of a worker.
        plain: ratio of the seconds of a plain trial to ours.
        plain_per_trial: seconds between two trials of a plain worker.
        uncached: ratio of a fine-tune's seconds without kept outputs of frozen layers to those
            with them.
    """

    start: float
    per_trial: float
    plain: float
    plain_per_trial: float
    uncached: float


def ways(surrogate: Surrogate, space: Space, ours: Settings, costs: Costs) -> dict[str, Search]:
    """By name, a function that runs a search with a study seed."""
    workers = Workers(2, costs.start, costs.per_trial)
    slow = Workers(2, costs.start, costs.plain_per_trial, costs.plain)
    budget = Budget(MOST_TRIALS)

    def searching(settings: Settings, by: Workers = workers) -> Search:
        return lambda seed: replay(
            surrogate, space, replace(settings, seed=seed, budget=budget), by
        )

    plain = replace(ours, sampler="tpe-joint", start_up=10, policy=ALONE)
    simulated = _Simulated(surrogate, space)
    return {
        "plain script": searching(plain, slow),
        "plain script, ASHA on epochs": lambda seed: simulated.asha(seed, slow),
        "random search, our trials": searching(replace(ours, sampler="random", policy=ALONE)),
        "1 epoch for all, then the top 4": lambda seed: simulated.one_epoch(seed, workers, 16, 4),
        "ours without shared baselines": searching(
            replace(ours, policy=ours.policy.model_copy(update={"branches": 1}))
        ),
        "ours without rungs": searching(
            replace(ours, policy=ours.policy.model_copy(update={"rungs": ()}))
        ),
        "ours with rungs at 1 and 3": searching(
            replace(ours, policy=ours.policy.model_copy(update={"rungs": (1, 3)}))
        ),
        "ours without kept prefixes": searching(
            ours, replace(workers, slowness=1 + (costs.uncached - 1) * 0.4)
        ),
        "ours": searching(ours),
    }


class _Simulated:
    """Methods without our study: random configurations on two workers."""

    def __init__(self, surrogate: Surrogate, space: Space) -> None:
        self.surrogate, self.space = surrogate, space

    def _draw(self, seed: int, count: int) -> list[Expected]:
        study = optuna.create_study(
            sampler=optuna.samplers.RandomSampler(seed=question_seed(seed, 0))
        )
        drawn = [self.space.suggest(study.ask()) for _ in range(count - 1)]
        truth = self.surrogate.drawn(seed)
        return [truth(c) for c in (dict(REFERENCE), *drawn)]

    def one_epoch(self, seed: int, workers: Workers, count: int, top: int) -> list[Replayed]:
        """One baseline epoch and a whole fine-tune for all; then the best few in full.

        Source: arXiv 2307.15422, but ranked after a fine-tune, because the baseline's own accuracy
        predicts little.
        """
        expected = self._draw(seed, count)
        looked = [e for e in expected if 1 in e.intermediate]
        clock = _Clock(workers)
        for e in looked:
            clock.work(e.baseline_seconds[0] + e.fine_tune_seconds)
        clock.wait()
        best = sorted(looked, key=lambda e: -e.intermediate[1])[:top]
        return [
            _replayed(i, clock.work(e.baseline_seconds[-1] + e.fine_tune_seconds), e)
            for i, e in enumerate(best)
        ]

    def asha(self, seed: int, workers: Workers) -> list[Replayed]:
        """Ray Tune's ASHA with its defaults, epochs counted across both stages."""
        clock, ended = _Clock(workers), list[Replayed]()
        passed: dict[int, list[float]] = {1: [], 4: [], 16: []}
        for number, e in enumerate(self._draw(seed, MOST_TRIALS)):
            seconds = self._until_stopped(e, passed)
            if seconds is None:
                whole = e.baseline_seconds[-1] + e.fine_tune_seconds
                ended.append(_replayed(number, clock.work(whole), e))
            else:
                clock.work(seconds)
        return ended

    @staticmethod
    def _until_stopped(e: Expected, passed: dict[int, list[float]]) -> float | None:
        """Seconds until ASHA stops the trial; None if the trial finishes."""
        before = len(e.baseline_seconds)
        for epochs, values in passed.items():
            if epochs > before + len(e.curve):
                return None
            in_baseline = epochs <= before
            looks = sorted(k for k in e.looks if 0 < k <= epochs) if in_baseline else []
            if in_baseline:
                value = e.looks[looks[-1] if looks else 0]
                seconds = e.baseline_seconds[epochs - 1]
            else:
                value = max(e.curve[: epochs - before])
                share = (epochs - before) / len(e.curve)
                seconds = e.baseline_seconds[-1] + share * e.fine_tune_seconds
            cutoff = np.percentile(values, 75) if values else -math.inf
            values.append(value)
            if value < cutoff:
                return seconds
        return None


class _Clock:
    """The clock of workers that take the next job when they are free."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._free = [workers.start] * workers.count
        heapq.heapify(self._free)

    def work(self, seconds: float) -> float:
        """Do a job; returns the time of its end."""
        begin = heapq.heappop(self._free)
        end = begin + self._workers.per_trial + seconds * self._workers.slowness
        heapq.heappush(self._free, end)
        return end

    def wait(self) -> None:
        """Wait until all workers are free; returns that time."""
        self._free = [max(self._free)] * len(self._free)


def _replayed(number: int, seconds: float, e: Expected) -> Replayed:
    return Replayed(number, seconds, e.value, e.held_out)


def times_to(searches: Sequence[Sequence[Replayed]], target: float) -> np.ndarray:
    """[seeds] seconds to the target; infinite if it was not reached."""
    in_time = (sorted(search, key=lambda t: t.seconds) for search in searches)
    found = [time_to_value(trials, target, held_out=True) for trials in in_time]
    return np.array([math.inf if t is None else t for t in found])


def median_interval(
    values: np.ndarray, over: np.ndarray | None = None
) -> tuple[float, float, float]:
    """The median, or the ratio of `over`'s median to it, with a 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(values), (RESAMPLES, len(values)))

    def of(rows: np.ndarray | slice) -> np.ndarray:
        own = np.percentile(values[rows], 50, axis=-1, method="lower")
        if over is None:
            return np.asarray(own)
        return np.asarray(np.percentile(over[rows], 50, axis=-1, method="lower") / own)

    low, high = np.nanpercentile(of(picks), [2.5, 97.5], method="nearest")
    return float(of(slice(None))), float(low), float(high)


def best_after(searches: Sequence[Sequence[Replayed]], trials: int) -> float:
    """Median over searches of the held-out accuracy of the incumbent after so many trials."""
    finals = []
    for search in searches:
        first = search[:trials]
        finals.append(max(first, key=lambda t: t.value).held_out or 0.0)
    return float(np.median(finals))


def measure(options: argparse.Namespace) -> list[Figure]:
    """Replay every method, print a table for each target, and how much sooner ours is."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    recording = read_recording(options.recording)
    experiment = load(options.experiment)
    space = experiment.search_space()
    surrogate = Surrogate(recording, space)
    errors = ", ".join(f"{k} {v:.4f}" for k, v in surrogate.errors().items())
    count = sum(not f.start for b in recording for f in b.fine_tunes)
    print(f"{len(recording)} baselines, {count} configurations; surrogate out of sample: {errors}")
    costs = Costs(
        options.start,
        options.per_trial,
        options.plain,
        options.plain_per_trial,
        options.uncached,
    )
    found = {}
    for name, search in ways(surrogate, space, experiment.settings(), costs).items():
        found[name] = [search(seed) for seed in range(options.seeds)]
        print(f"  replayed {name}", flush=True)
    hard = best_after(found["plain script"], PLAIN_TRIALS)
    print(f"hard target, the plain script's median best after {PLAIN_TRIALS} trials: {hard:.4f}")
    figures = []
    for target in (hard, *options.targets):
        _print_table(found, target)
        own, plain = times_to(found["ours"], target), times_to(found["plain script"], target)
        name = (
            f"{options.experiment}, to {target:.2%} held out: times sooner than the plain script"
        )
        text = _text(*median_interval(own, plain), ".1f")
        figures.append(Figure(name, text, f"{options.seeds} simulated searches"))
    return figures


def parser() -> argparse.ArgumentParser:
    """The command's options; `make bench` uses their defaults."""
    found = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).parent / "recordings" / "digits6.jsonl"
    found.add_argument("recording", type=Path, nargs="?", default=default, help="of record.py")
    found.add_argument("--experiment", default="digits6", help="whose space was recorded")
    found.add_argument("--seeds", type=int, default=100)
    found.add_argument("--targets", type=float, nargs="+", default=[0.97])
    found.add_argument("--start", type=float, default=10.5, help="seconds until the first step")
    found.add_argument("--per-trial", type=float, default=0.6, help="seconds between two trials")
    found.add_argument("--plain", type=float, default=4.4, help="a plain trial's time over ours")
    found.add_argument("--plain-per-trial", type=float, default=4.0)
    found.add_argument("--uncached", type=float, default=1.03, help="a fine-tune's time over ours")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print tables and figures."""
    return print_figures(measure(parser().parse_args(argv)))


def _print_table(found: dict[str, list[list[Replayed]]], target: float) -> None:
    plain = times_to(found["plain script"], target)
    random = times_to(found["random search, our trials"], target)
    print(f"\ntarget {target:.4f}, held out; medians with 95 % intervals")
    print(
        f"| {'way':34} | {'seconds':21} | {'sooner than plain':21} | never | later than random |"
    )
    for name, searches in found.items():
        own = times_to(searches, target)
        seconds = _text(*median_interval(own), ".0f")
        times = _text(*median_interval(own, plain), ".1f")
        never, later = np.isinf(own).mean(), (own > random).mean()
        print(f"| {name:34} | {seconds:21} | {times:21} | {never:4.0%} | {later:16.0%} |")


def _text(value: float, low: float, high: float, form: str) -> str:
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


if __name__ == "__main__":
    raise SystemExit(main())
