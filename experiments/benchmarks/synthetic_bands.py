"""Whether the synthetic set still has its intended accuracies, and the gain of a search.

The bands are around the published results, with room for chance: the reference configuration on
`synthesize(seed)`, for several seeds of both the set and the study, in float32 and in bfloat16.
The gain is the winner's accuracy minus the reference configuration's on held-out images, in whole
demo runs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.benchmarks.turns import Figure, print_figures, spread
from shiftsearch.model.device import available_cpus, choose_device
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.prepared import prepare
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.store import open_store

BANDS = {
    ("before", "TEST"): (0.45, 0.68),
    ("before", "TEST2"): (0.10, 0.30),
    ("after", "TEST"): (0.95, 1.00),
    ("after", "TEST2"): (0.88, 0.97),
}
"""Lowest and highest accuracy, in 0..1, before and after fine-tuning; TEST2's selection part."""

DTYPES = ("float32", "bfloat16")
SEEDS = 5
SEARCHES = 5
LEAST_GAIN = 0.02

Place = tuple[str, str]


def measure(seeds: int, searches: int) -> list[Figure]:
    """The bands over some seeds, the gain over some searches; 0 leaves a part out."""
    return [*_bands(seeds), *(gain(seed, demo_result(seed)) for seed in range(searches))]


def _bands(seeds: int) -> list[Figure]:
    tasks = [(seed, dtype) for seed in range(seeds) for dtype in DTYPES]
    with mp.get_context("spawn").Pool(min(available_cpus(), len(tasks) or 1)) as pool:
        accuracies = pool.starmap(reference_accuracies, tasks, chunksize=1)
    figures = []
    for dtype in DTYPES if tasks else ():
        found = [a for (_, used), a in zip(tasks, accuracies, strict=True) if used == dtype]
        for place, (low, high) in BANDS.items():
            values = [a[place] for a in found]
            stage, split = place
            figures.append(
                Figure(
                    f"reference, {dtype}: {split} {stage} fine-tuning, %",
                    spread([100 * value for value in values], ".1f"),
                    f"{seeds} seeds",
                    f"all in {100 * low:.0f} to {100 * high:.0f}",
                    all(low <= value <= high for value in values),
                )
            )
    return figures


def reference_accuracies(seed: int, dtype: str) -> dict[Place, float]:
    """Accuracies of the reference configuration, in 0..1, in the order of `BANDS`."""
    device = choose_device(cpus=1, gpus=0, dtype=dtype)
    device.apply()
    protocol = Protocol()
    data = prepare(synthesize(seed), protocol, device)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        result = run_protocol(
            ProtocolRun(Hyperparameters(), data, protocol, store, device, seed=seed)
        )
    stages = {"before": result.baseline, "after": result.fine_tune}
    found = {
        (name, split): evaluation.accuracy
        for name, stage in stages.items()
        for split, evaluation in (("TEST", stage.test), ("TEST2", stage.test2))
    }
    line = ", ".join(f"{split} {stage} {value:.1%}" for (stage, split), value in found.items())
    print(f"seed {seed}, {dtype}: {line}", flush=True)
    return found


def demo_result(seed: int) -> dict[str, Any]:
    """`result.json` of a whole demo run with this seed of set and study.

    Raises:
        RuntimeError: the search failed.
    """
    command = Path(sys.executable).parent / "shiftsearch"
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = ["--set", f"seed={seed}", "--set", f"synthetic.seed={seed}"]
        done = subprocess.run(
            [command, "search", "demo", *settings, "--run", run],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise RuntimeError(f"shiftsearch ended with {done.returncode}:\n{done.stdout}")
        result: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    print(f"demo, seed {seed}: {time.monotonic() - begin:.0f} s", flush=True)
    return result


def gain(seed: int, result: Mapping[str, Any]) -> Figure:
    """Winner minus reference of a demo run, on the held-out part."""
    name = f"demo, seed {seed}: winner minus reference on TEST2, held out, points"
    bound = f"at least {100 * LEAST_GAIN:.0f}, interval above 0"
    comparison = result["comparison"]
    if comparison is None:
        return Figure(name, "none: the reference won", "1 run", bound, holds=False)
    difference, (low, high) = comparison["difference"], comparison["interval"]
    return Figure(
        name,
        f"{100 * difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]",
        f"{comparison['n']} images",
        bound,
        comparison["part"] == "held-out" and difference >= LEAST_GAIN and low > 0,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether every bound holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="for the bands")
    parser.add_argument("--search-seeds", type=int, default=SEARCHES, help="whole demo runs")
    options = parser.parse_args(argv)
    return print_figures(measure(options.seeds, options.search_seeds))


if __name__ == "__main__":
    raise SystemExit(main())
