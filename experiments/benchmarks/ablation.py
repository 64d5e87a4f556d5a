r"""Compare options of the protocol: each is trained under the same seeds, and a table is printed.

    python -m shiftsearch.experiments.benchmarks.ablation --data DIR --out FOLDER --seeds 8 \
        --base fine_tune.frozen_layers=0 \
        --option preprocessing.intensity=standardise \
        --option protocol.fine_tune.patience=8 fine_tune.learning_rate=3e-4

The first row is the base: the reference configuration with the values of `--base`. Each `--option`
is the base with the values named there. Values of `protocol` count too. It needs no Ray and uses
one process. What is trained stays in FOLDER, so the same command goes on after a break, and more
seeds or options cost only what is new. Only the selection part of TEST2 is scored.
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
from shiftsearch.experiments.benchmarks.turns import circumstances, mean_interval
from shiftsearch.experiments.definition import build
from shiftsearch.experiments.mapping import set_value
from shiftsearch.model.device import choose_device
from shiftsearch.model.engine import TrialDiverged
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
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
    """One training: accuracy on TEST2's selection part in 0..1, and seconds of both stages."""

    accuracy: float
    seconds: float


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


def rows(variants: Sequence[Variant], trained: Mapping[tuple[int, int], Trained]) -> list[str]:
    """The table in Markdown; differences are paired by seed.

    Args:
        variants: the base first.
        trained: by the variant's position and the seed; a training that diverged is missing.
    """
    lines = [
        "| option | n | TEST2, selection part: mean | sd | minus base, points | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for place, one in enumerate(variants):
        own = {seed: t for (at, seed), t in trained.items() if at == place}
        if not own:
            lines.append(f"| {one.name} | 0 | - | - | - | - |")
            continue
        accuracies = [100 * t.accuracy for t in own.values()]
        shared = [seed for seed in own if (0, seed) in trained]
        differences = [100 * (own[s].accuracy - trained[0, s].accuracy) for s in shared]
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


def compare(
    variants: Sequence[Variant], data: Path | None, out: Path, seeds: int
) -> dict[tuple[int, int], Trained]:
    """Train every variant under seeds 1 to `seeds`, seed by seed; what is stored is read.

    Args:
        variants: the base first.
        data: folder of the dataset; None is the synthetic set.
        out: folder of the store.
        seeds: number of seeds; each is a replicate with its own weights, order and draws.
    """
    dataset = synthesize() if data is None else open_dataset(data)[0]
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
            found[place, seed] = Trained(result.test2_accuracy, seconds)
            print(f"seed {seed}, {one.name}: {result.test2_accuracy:.2%}", flush=True)
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
    options = parser.parse_args(argv)
    variants = [variant(options.base, option) for option in ([], *options.option)]
    trained = compare(variants, options.data, options.out, options.seeds)
    print(f"\n{circumstances()}\n")
    print("\n".join(rows(variants, trained)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
