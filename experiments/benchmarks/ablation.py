r"""Compare options of the protocol: each is trained under the same seeds, and a table is printed.

    python -m shiftsearch.experiments.benchmarks.ablation --data DIR --out FOLDER --seeds 8 \
        --base fine_tune.frozen_layers=0 \
        --option preprocessing.intensity=standardise \
        --option protocol.fine_tune.patience=8 fine_tune.learning_rate=3e-4

The first row is the base: the reference configuration with the values of `--base`. Each `--option`
is the base with the values named there. Values of `protocol` count too. It needs no Ray and uses
one process. What is trained stays in FOLDER, so the same command goes on after a break, and more
seeds or options cost only what is new. Only the selection part of TEST2 is scored. With
`--imbalance 10` class sizes fall from all images to a tenth. Where classes are of different size,
a second table has the balanced accuracy, and the option that each objective chooses is named.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, stdev

from shiftsearch.data.cache import open_dataset
from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.benchmarks.imbalance import imbalanced
from shiftsearch.experiments.benchmarks.turns import circumstances, mean_interval
from shiftsearch.experiments.definition import build
from shiftsearch.experiments.mapping import set_value
from shiftsearch.model.device import choose_device
from shiftsearch.model.engine import TrialDiverged
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.objective import ACCURACY, BALANCED_ACCURACY, Objective
from shiftsearch.model.protocol import ProtocolData, ProtocolRun, prepare, run_protocol
from shiftsearch.model.store import open_store

STUDY_SEED = 0


@dataclass(frozen=True)
class Variant:
    """An option to compare.

    Attributes:
        name: the values that make it.
        hyperparameters: the configuration.
        protocol: the protocol.
    """

    name: str
    hyperparameters: Hyperparameters
    protocol: Protocol


@dataclass(frozen=True)
class Trained:
    """One training, scored on TEST2's selection part.

    Attributes:
        accuracy: in 0..1.
        seconds: of both stages.
        balanced_accuracy: in 0..1.
    """

    accuracy: float
    seconds: float
    balanced_accuracy: float = 0.0


def variant(base: Sequence[str], option: Sequence[str]) -> Variant:
    """The base with the option's values; each is KEY=VALUE.

    Raises:
        experiments.definition.DefinitionError: a key or a value is wrong.
        experiments.mapping.MappingError: the form of one is wrong.
    """
    raw: dict[str, object] = {}
    for value in (*base, *option):
        set_value(raw, value if value.startswith("protocol.") else f"space.{value}")
    experiment = build(raw, "ablation")
    configuration = experiment.search_space().complete({})
    name = ", ".join(option) or "base"
    return Variant(name, Hyperparameters.from_flat(configuration), experiment.protocol)


def rows(
    variants: Sequence[Variant],
    trained: Mapping[tuple[int, int], Trained],
    objective: Objective = ACCURACY,
) -> list[str]:
    """The table in Markdown; differences are paired by seed.

    Args:
        variants: the base first.
        trained: by the variant's position and the seed; a training that diverged is missing.
        objective: the score of the table, accuracy or balanced accuracy.
    """
    title = "" if objective == ACCURACY else f"{objective.title}, "
    lines = [
        f"| option | n | {title}TEST2, selection part: mean | sd | minus base, points | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for place, one in enumerate(variants):
        own = {seed: t for (at, seed), t in trained.items() if at == place}
        if not own:
            lines.append(f"| {one.name} | 0 | - | - | - | - |")
            continue
        accuracies = [100 * _value(t, objective) for t in own.values()]
        shared = [seed for seed in own if (0, seed) in trained]
        differences = [
            100 * (_value(own[s], objective) - _value(trained[0, s], objective)) for s in shared
        ]
        difference = "-"
        if place and len(differences) > 1:
            middle, low, high = mean_interval(differences)
            difference = f"{middle:+.2f} ({low:+.2f} to {high:+.2f})"
        deviation = f"{stdev(accuracies):.2f}" if len(accuracies) > 1 else "-"
        seconds = fmean(t.seconds for t in own.values())
        lines.append(
            f"| {one.name} | {len(own)} | {fmean(accuracies):.2f} % | {deviation} | {difference} |"
            f" {seconds:.1f} |"
        )
    return lines


def _value(trained: Trained, objective: Objective) -> float:
    value: float = getattr(trained, objective.name)
    return value


def chosen(
    variants: Sequence[Variant],
    trained: Mapping[tuple[int, int], Trained],
    objective: Objective,
) -> Variant:
    """The variant with the best mean objective; of equal ones the first."""

    def mean(place: int) -> float:
        own = [_value(t, objective) for (at, _), t in trained.items() if at == place]
        return fmean(own) if own else 0.0

    return variants[max(range(len(variants)), key=lambda place: (mean(place), -place))]


def compare(
    variants: Sequence[Variant], data: Path | None, out: Path, seeds: int, imbalance: float = 1.0
) -> dict[tuple[int, int], Trained]:
    """Train every variant under seeds 1 to `seeds`, seed by seed; what is stored is read.

    Args:
        variants: the base first.
        data: folder of the dataset; None is the synthetic set.
        out: folder of the store.
        seeds: number of seeds; each is a replicate with its own weights, order and draws.
        imbalance: how many times as many images the first class keeps as the last, of equal ones.
    """
    dataset = synthesize() if data is None else open_dataset(data)[0]
    dataset = dataset if imbalance == 1 else imbalanced(dataset, imbalance)
    device = choose_device(cpus=1, gpus=0)
    device.apply()
    store = open_store(str(out.resolve()))

    @cache
    def prepared(protocol: Protocol) -> ProtocolData:
        return prepare(dataset, protocol, device)

    found: dict[tuple[int, int], Trained] = {}
    for seed in range(1, seeds + 1):
        for place, one in enumerate(variants):
            run = ProtocolRun(
                one.hyperparameters,
                prepared(one.protocol),
                one.protocol,
                store,
                device,
                seed=STUDY_SEED,
                replicate=seed,
            )
            try:
                result = run_protocol(run).result
            except TrialDiverged as error:
                print(f"seed {seed}, {one.name}: {error}", flush=True)
                continue
            seconds = result.baseline.seconds + result.fine_tune.seconds
            balanced = BALANCED_ACCURACY.of(result)
            found[place, seed] = Trained(result.test2_accuracy, seconds, balanced)
            print(
                f"seed {seed}, {one.name}: {result.test2_accuracy:.2%}, balanced {balanced:.2%}",
                flush=True,
            )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="default: the synthetic set")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--base", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--option", nargs="+", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--imbalance", type=float, default=1.0, metavar="FACTOR")
    options = parser.parse_args(argv)
    if not options.imbalance >= 1:
        parser.error(f"--imbalance {options.imbalance:g}: must be at least 1")
    variants = [variant(options.base, option) for option in ([], *options.option)]
    trained = compare(variants, options.data, options.out, options.seeds, options.imbalance)
    print(f"\n{circumstances()}\n")
    print("\n".join(rows(variants, trained)))
    # In equal classes both scores are the same, up to rounding.
    if any(abs(t.accuracy - t.balanced_accuracy) > 1e-9 for t in trained.values()):
        print("\n" + "\n".join(rows(variants, trained, BALANCED_ACCURACY)) + "\n")
        for objective in (ACCURACY, BALANCED_ACCURACY):
            best = chosen(variants, trained, objective)
            print(f"best mean {objective.title}: {best.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
