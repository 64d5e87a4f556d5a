r"""Compare cross-fitting with the simple split in simulated searches on a small TEST2.

    python -m shiftsearch.experiments.benchmarks.folds --out FOLDER --seeds 8

Each seed has a synthetic set of its own, whose TEST2 has 150 images: 75 select, 75 are held out.
A search is a number of random configurations of the space of `demo`, trained once. Three rules
choose one of them by accuracy on the selection part:

- folds: the out-of-fold accuracy of cross-fitting, `protocol.folds`;
- simple: the accuracy of the fine-tune that the whole selection part validated;
- simple, equal time: the same among as many configurations as take the same processor time.

The first two have the same configurations. A chosen configuration's model is always the fine-tune
that the whole selection part validated. It is scored on 2,000 more images of TEST2's domain, and
so is the model of a new replicate. It needs no Ray and uses one process; several may work on
different seeds in one folder. What was trained is kept in FOLDER, so the same command continues
after a break.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from statistics import fmean

import optuna

from shiftsearch.data.dataset import Dataset
from shiftsearch.data.drifts import DRIFTS
from shiftsearch.data.synthetic import synthesize
from shiftsearch.data.tensors import changed, to_device
from shiftsearch.experiments.benchmarks.turns import circumstances
from shiftsearch.experiments.definition import load
from shiftsearch.experiments.outcome.statistics import mean_interval
from shiftsearch.model.device import choose_device
from shiftsearch.model.engine import TensorSplit, TrialDiverged
from shiftsearch.model.evaluation import evaluate
from shiftsearch.model.hyperparameters import Hyperparameters, Value
from shiftsearch.model.prepared import prepare
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.store import open_store
from shiftsearch.search.proposing.sobol import question_seed

TEST2 = 150
JUDGES = 2000
JUDGES_SEED = 1_000_000  # added to a set's seed
RULES = ("simple", "simple, equal time", "folds")


@dataclass(frozen=True)
class Outcome:
    """One training; accuracies in 0..1, processor seconds.

    Attributes:
        seed, number, replicate: of the study, of the configuration, and of the training.
        simple: accuracy on the selection part of the model that this part validated.
        folds: out-of-fold accuracy; None if it was not cross-fitted.
        truth: the model's accuracy on `JUDGES` more images of the domain.
        seconds: of the baseline, of the model's fine-tune, and of the folds' fine-tunes.
    """

    seed: int
    number: int
    replicate: int
    simple: float
    folds: float | None
    truth: float
    seconds: tuple[float, float, float]


class Trainer:
    """Trains the configurations of one seed.

    Args:
        seed: of the set, of the configurations and of the trainings.
        folds: number of folds.
        drift: name of the synthetic set's drift.
        out: folder of the store.
    """

    def __init__(self, seed: int, folds: int, drift: str, out: Path) -> None:
        self._seed, self._store = seed, open_store(str(out.resolve()))
        self._device = choose_device(cpus=1, gpus=0)
        self._device.apply()
        experiment = load("demo")
        self._space = experiment.search_space()
        simple = experiment.protocol
        protocols = {True: simple.model_copy(update={"folds": folds}), False: simple}
        dataset = small_set(seed, drift)
        self._sides = {k: (p, prepare(dataset, p, self._device)) for k, p in protocols.items()}
        counts = {**DRIFTS[drift].counts, "TEST2": JUDGES}
        judges = synthesize(seed + JUDGES_SEED, counts=counts, drift=drift).splits["TEST2"]
        self._judges = TensorSplit(*to_device(judges, self._device.torch_device), "")

    def configuration(self, number: int) -> dict[str, Value]:
        """The random configuration of this number."""
        sampler = optuna.samplers.RandomSampler(seed=question_seed(self._seed, number))
        return self._space.suggest(optuna.create_study(sampler=sampler).ask())

    def train(self, number: int, replicate: int, *, folded: bool) -> Outcome | None:
        """Train a configuration; None if it diverged."""
        protocol, data = self._sides[folded]
        spent, last = Counter[str](), time.process_time()

        def on_epoch(stage: str, row: object) -> None:
            nonlocal last
            del row
            now = time.process_time()
            spent[stage] += now - last  # type: ignore[assignment]
            last = now

        values = Hyperparameters.from_flat(self.configuration(number))
        run = ProtocolRun(
            values,
            data,
            protocol,
            self._store,
            self._device,
            seed=self._seed,
            replicate=replicate,
            on_epoch=on_epoch,
        )
        try:
            report = run_protocol(run, with_model=True).fine_tune
        except TrialDiverged:
            return None
        network, selection = run.network(report.result), run.data.selection
        images = changed(self._judges.images, values.preprocessing.apply)
        own = spent.pop("baseline", 0.0), spent.pop("fine_tune", 0.0)
        return Outcome(
            self._seed,
            number,
            replicate,
            evaluate(network, selection.images, selection.labels).accuracy,
            report.test2.accuracy if folded else None,
            evaluate(network, images, self._judges.labels).accuracy,
            (*own, sum(spent.values())),
        )


def small_set(seed: int, drift: str) -> Dataset:
    """The synthetic set with `TEST2` images in TEST2."""
    return synthesize(seed, counts={**DRIFTS[drift].counts, "TEST2": TEST2}, drift=drift)


class Results:
    """What was trained, in a file of JSON lines; a training that diverged is kept too."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[tuple[int, ...], Outcome | None] = {}
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
            *key, raw = json.loads(line)
            self._known[tuple(key)] = raw and Outcome(**{**raw, "seconds": tuple(raw["seconds"])})

    def of(self, trainer: Trainer, *key: int) -> Outcome | None:
        """The known outcome by seed, number, replicate and whether it has folds, or a new one."""
        if key not in self._known:
            _, number, replicate, folded = key
            self._known[key] = found = trainer.train(number, replicate, folded=bool(folded))
            with self._file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps([*key, found and asdict(found)]) + "\n")
            print(*key, "diverged" if found is None else f"{found.truth:.2%}", flush=True)
        return self._known[key]


def searched(results: Results, trainer: Trainer, seed: int, trials: int) -> dict[str, Outcome]:
    """The chosen outcome of each rule.

    Args:
        results: the outcomes; what is missing is trained.
        trainer: of this seed.
        seed: the study's seed.
        trials: number of configurations of the rule `folds`.
    """
    shared = [o for n in range(trials) if (o := results.of(trainer, seed, n, 0, 1))]
    budget = sum(o.seconds[0] + o.seconds[2] for o in shared)
    more, number = list(shared), trials
    while sum(o.seconds[0] + o.seconds[1] for o in more) < budget:
        more += [o] if (o := results.of(trainer, seed, number, 0, 0)) else []
        number += 1
    # The last one is finished within the time only if it fits.
    times = accumulate(o.seconds[0] + o.seconds[1] for o in more)
    fits = [o for o, until in zip(more, times, strict=True) if until <= budget]
    return {
        "simple": max(shared, key=lambda o: o.simple),
        "simple, equal time": max(fits, key=lambda o: o.simple),
        "folds": max(shared, key=lambda o: o.folds or 0.0),
    }


def rows(
    chosen: Mapping[int, Mapping[str, Outcome]], again: Mapping[int, Mapping[str, float]]
) -> list[str]:
    """The table in Markdown, with differences paired by seed.

    Args:
        chosen: by seed and rule.
        again: the accuracy of a new replicate on the judges, by seed and rule.
    """
    lines = [
        "| rule | searches | selected on | model, 2,000 images | minus simple, points | optimism,"
        " points | new replicate | minus simple, points |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rule in RULES:
        own = [found[rule] for found in chosen.values()]
        values = [(o.folds or 0.0) if rule == "folds" else o.simple for o in own]
        optimism = [100 * (v - o.truth) for v, o in zip(values, own, strict=True)]
        gain = [100 * (found[rule].truth - found["simple"].truth) for found in chosen.values()]
        repeated = [found[rule] for found in again.values()]
        gain_again = [100 * (found[rule] - found["simple"]) for found in again.values()]
        lines.append(
            f"| {rule} | {len(own)} | {fmean(values):.2%} | {fmean(o.truth for o in own):.2%} |"
            f" {_interval(gain)} | {_interval(optimism)} | {fmean(repeated):.2%} |"
            f" {_interval(gain_again)} |"
        )
    return lines


def _interval(values: Sequence[float]) -> str:
    if not any(values):
        return "-"
    if len(values) < 2:
        return f"{values[0]:+.2f}"
    middle, low, high = mean_interval(values)
    return f"{middle:+.2f} ({low:+.2f} to {high:+.2f})"


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--drift", choices=DRIFTS, default="light")
    options = parser.parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = options.out / f"{options.drift}-{options.folds}"
    folder.mkdir(parents=True, exist_ok=True)
    chosen: dict[int, dict[str, Outcome]] = {}
    again: dict[int, dict[str, float]] = {}
    for seed in range(options.first, options.first + options.seeds):
        results = Results(folder / f"results-{seed}.jsonl")
        trainer = Trainer(seed, options.folds, options.drift, folder)
        chosen[seed] = searched(results, trainer, seed, options.trials)
        repeated = {r: results.of(trainer, seed, o.number, 1, 0) for r, o in chosen[seed].items()}
        if all(repeated.values()):
            again[seed] = {rule: o.truth for rule, o in repeated.items() if o}
    print(f"\n{circumstances()}\n")
    print("\n".join(rows(chosen, again)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
