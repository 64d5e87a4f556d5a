r"""Compare options of the protocol: each is trained under the same seeds, and a table is printed.

    python -m shiftsearch.experiments.benchmarks.ablation --data DIR --out FOLDER --seeds 8 \
        --base fine_tune.frozen_layers=0 \
        --option preprocessing.intensity=standardise \
        --option protocol.fine_tune.patience=8 fine_tune.learning_rate=3e-4

The first row is the base: the reference configuration with the values of `--base`. Each `--option`
is the base with the values named there. Values of `protocol` count too. `--data` is a folder or
the name of a drift of the synthetic set. With `--all` the bases and options of `options.yaml` are
compared, a table for each base. It needs no Ray and uses one process. What is trained stays in
FOLDER, so the same command goes on after a break, and more seeds or options cost only what is
new. Its file results.jsonl is enough for that; the recorded ones lie in `recordings/ablation`.
Only the selection part of TEST2 is scored. With `--imbalance 10` class sizes fall from all images
to a tenth; then a second table has the balanced accuracy, and the option that each objective would
choose is named.
"""

from __future__ import annotations

import argparse
import json
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from functools import cache, partial
from pathlib import Path

import yaml

from shiftsearch.data.cache import open_dataset
from shiftsearch.data.dataset import Dataset
from shiftsearch.data.drifts import DEFAULT_DRIFT, DRIFTS
from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.benchmarks.ablation_table import Trained, Variant, chosen, rows
from shiftsearch.experiments.benchmarks.imbalance import imbalanced
from shiftsearch.experiments.benchmarks.turns import circumstances
from shiftsearch.experiments.definition import build
from shiftsearch.experiments.mapping import set_value
from shiftsearch.model.device import choose_device
from shiftsearch.model.engine import TrialDiverged
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.objective import ACCURACY, BALANCED_ACCURACY
from shiftsearch.model.prepared import ProtocolData, prepare
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.result import STAGES, ProtocolResult
from shiftsearch.model.store import content_key, open_store

OPTIONS = Path(__file__).with_name("options.yaml")
STUDY_SEED = 0


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


class Clock:
    """Processor seconds of stages by result key, kept in a file beside the store.

    A stage that was interrupted counts from where it was taken up. Wall-clock time would measure
    the machine's other work too.

    Args:
        file: JSON lines of [key, seconds].
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        self._known: dict[str, float] = dict(map(json.loads, lines))
        self._now: dict[str, float] = {}
        self._last = 0.0

    def start(self) -> None:
        """Before a configuration is trained."""
        self._now, self._last = dict.fromkeys(STAGES, 0.0), time.process_time()

    def on_epoch(self, stage: str, row: object) -> None:
        """After an epoch of a stage."""
        del row
        now = time.process_time()
        # With folds, a fine-tune has several names.
        self._now["baseline" if stage == "baseline" else "fine_tune"] += now - self._last
        self._last = now

    def seconds(self, result: ProtocolResult) -> float:
        """Seconds of both stages; those of a stage that was stored are read."""
        for stage in STAGES:
            key = getattr(result, stage).key
            if key not in self._known:
                self._known[key] = round(self._now[stage], 2)
                with self._file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps([key, self._known[key]]) + "\n")
        return sum(self._known[getattr(result, stage).key] for stage in STAGES)


class Results:
    """What was trained, in a file: JSON lines of [key, seed, accuracy, seconds, balanced].

    The key is the content of dataset, configuration and protocol; `balanced` is the balanced
    accuracy. A training that diverged has no accuracy.

    Args:
        file: read at once; each new result is added to it.
        digest: the dataset's.
    """

    def __init__(self, file: Path, digest: str) -> None:
        self._file, self._digest = file, digest
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        self._known = {(key, seed): rest for key, seed, *rest in map(json.loads, lines)}

    def _key(self, one: Variant) -> str:
        content = [self._digest, one.hyperparameters.content(), one.protocol.content()]
        return content_key(content)

    def of(self, one: Variant, seed: int, train: Callable[[], Trained | None]) -> Trained | None:
        """The known result, or that of `train`; None if it diverged."""
        place = self._key(one), seed
        if place not in self._known:
            trained = train()
            values = astuple(trained) if trained else (None, None, None)
            self._known[place] = list(values)
            with self._file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps([*place, *values]) + "\n")
        accuracy, *rest = self._known[place]
        return None if accuracy is None else Trained(accuracy, *rest)


def compare(
    variants: Sequence[Variant], dataset: Dataset, out: Path, seeds: Sequence[int]
) -> dict[tuple[int, int], Trained]:
    """Train every variant under every seed, seed by seed; what is stored is read.

    Args:
        variants: the base first.
        dataset: the images.
        out: folder of the store.
        seeds: each is a replicate with its own weights, order and draws.
    """
    device = choose_device(cpus=1, gpus=0)
    device.apply()
    store = open_store(str(out.resolve()))
    clock = Clock(out / "seconds.jsonl")
    results = Results(out / "results.jsonl", dataset.digest)

    @cache
    def prepared(protocol: Protocol) -> ProtocolData:
        return prepare(dataset, protocol, device)

    def train(one: Variant, seed: int) -> Trained | None:
        """Both stages of a variant; None if a training diverged."""
        run = ProtocolRun(
            one.hyperparameters,
            prepared(one.protocol),
            one.protocol,
            store,
            device,
            seed=STUDY_SEED,
            replicate=seed,
            on_epoch=clock.on_epoch,
        )
        clock.start()
        try:
            result = run_protocol(run).result
        except TrialDiverged as error:
            print(f"seed {seed}, {one.name}: {error}", flush=True)
            return None
        print(f"seed {seed}, {one.name}: {result.test2_accuracy:.2%}", flush=True)
        seconds, balanced = round(clock.seconds(result), 2), BALANCED_ACCURACY.of(result)
        return Trained(result.test2_accuracy, seconds, balanced)

    found = {
        (place, seed): results.of(one, seed, partial(train, one, seed))
        for seed in seeds
        for place, one in enumerate(variants)
    }
    return {key: trained for key, trained in found.items() if trained is not None}


def tables(options: Namespace) -> dict[str, list[Variant]]:
    """The variants of each table, by its title."""
    if not options.all:
        return {"": [variant(options.base, option) for option in ([], *options.option)]}
    listed = yaml.safe_load(OPTIONS.read_text("utf-8"))
    return {
        f"Base: {title}": [
            variant(base, []),
            *(
                replace(variant(base, values), name=name)
                for name, values in (listed["options"] | listed["further"].get(title, {})).items()
            ),
        ]
        for title, base in listed["bases"].items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=DEFAULT_DRIFT, metavar="DIR|DRIFT")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--all", action="store_true", help="what options.yaml lists")
    parser.add_argument("--base", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--option", nargs="+", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--imbalance", type=float, default=1.0, metavar="FACTOR")
    options = parser.parse_args(argv)
    if not options.imbalance >= 1:
        parser.error(f"--imbalance {options.imbalance:g}: must be at least 1")
    data: str = options.data
    dataset = synthesize(drift=data) if data in DRIFTS else open_dataset(Path(data))[0]
    if options.imbalance > 1:
        dataset = imbalanced(dataset, options.imbalance)
    compared = tables(options)
    options.out.mkdir(parents=True, exist_ok=True)
    seeds = range(1, options.seeds + 1)
    trained = {
        title: compare(variants, dataset, options.out, seeds)
        for title, variants in compared.items()
    }
    print(f"\n{circumstances()}")
    for title, variants in compared.items():
        print(f"\n{title}\n" if title else "")
        print("\n".join(rows(variants, trained[title])))
        if options.imbalance > 1:
            print("\n" + "\n".join(rows(variants, trained[title], BALANCED_ACCURACY)) + "\n")
            for objective in (ACCURACY, BALANCED_ACCURACY):
                best = chosen(variants, trained[title], objective)
                print(f"best by {objective.title}: {best.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
