"""All benchmarks, in a quick form by default: what `make bench` runs."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.benchmarks import (
    logging_cost,
    overhead,
    policies,
    synthetic_bands,
    throughput,
)
from shiftsearch.experiments.benchmarks.turns import Figure, print_figures
from shiftsearch.model.hyperparameters import Schedule

QUICK_SEARCHES = 2
QUICK_REPLAYS, FULL_REPLAYS = 12, 100


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print one table, and say by the exit code whether every bound holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="more seeds, longer trials: hours")
    options = parser.parse_args(argv)
    epochs = Schedule().max_epochs
    seeds, overhead_epochs, searches, replays = (
        (throughput.FULL_SEEDS, epochs, synthetic_bands.SEARCHES, FULL_REPLAYS)
        if options.full
        else (throughput.QUICK_SEEDS, overhead.QUICK_EPOCHS, QUICK_SEARCHES, QUICK_REPLAYS)
    )
    parts: dict[str, Callable[[], list[Figure]]] = {
        "throughput": lambda: throughput.measure(synthesize(), seeds, epochs),
        "overhead": lambda: overhead.measure(overhead.TRIALS, overhead_epochs, overhead.PAIRS),
        "logging": logging_cost.figures,
        "policies, by replay": lambda: policies.measure(
            policies.parser().parse_args(["--seeds", str(replays)])
        ),
        "synthetic set": lambda: synthetic_bands.measure(synthetic_bands.SEEDS, searches),
    }
    figures = []
    for name, measure in parts.items():
        print(f"-- {name}", flush=True)
        begin = time.monotonic()
        figures += measure()
        print(f"-- {name}: {time.monotonic() - begin:.0f} s", flush=True)
    return print_figures(figures)


if __name__ == "__main__":
    raise SystemExit(main())
