"""Compare the ranges of experiments at equal wall time, by what their searches export.

    python -m shiftsearch.experiments.benchmarks.ranges --data SET --experiment digits6 \
        --experiment recommended --seconds 240 --seeds 5 --out FOLDER

For each study seed the searches of all experiments run at the same time, each on one core of its
own, so that other work on the machine slows them alike; from seed to seed they change cores.
`--data` is a folder, or the name of a drift of the synthetic set. All settings but the space are
the same for all: two candidates, two replicates each, and what `--set` says. The time is that of
searching; retraining comes after it. The table has the exported model's accuracy on the held-out
part of TEST2, and the mean of the winner's replicates beside it, and their differences to the
first experiment, paired by seed, with 95 % intervals (Student's t).

Runs that FOLDER already holds are not repeated; one that was cut off is refused.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from shiftsearch.data.drifts import DRIFTS
from shiftsearch.experiments.benchmarks.turns import circumstances
from shiftsearch.experiments.definition import load
from shiftsearch.experiments.outcome.statistics import mean_interval
from shiftsearch.experiments.run_folder import Run

SETTINGS = (
    "retrain.top_k=2",
    "retrain.replicates=2",
    "resources.cpus_per_trial=1",
    "resources.gpus_per_trial=0",
    "resources.concurrency=1",
)
NO_LIMIT = 1000


@dataclass(frozen=True)
class Found:
    """What one search found.

    Attributes:
        model: the exported model's accuracy on the held-out part, in 0..1.
        replicates: mean of the winner's replicates on the held-out part, in 0..1.
        trials: number of complete trials.
    """

    model: float
    replicates: float
    trials: int


def found(run: Run) -> Found:
    """What a finished run found.

    Raises:
        ValueError: nothing is held out.
    """
    result = json.loads(run.result.read_text(encoding="utf-8"))
    model = {row["label"]: row["accuracy"] for row in result["model"]["test2"]}
    rows = {row["title"]: row for row in result["numbers"]}
    replicates = rows.get("winner", rows.get("reference", {}))["held_out"]  # the reference may win
    if replicates is None:
        raise ValueError(f"{run.folder}: nothing is held out")
    return Found(model["held out"], replicates["accuracy"], result["search"]["complete"])


def command(
    experiment: str, data: str, run: Path, seconds: float, seed: int, settings: Sequence[str]
) -> list[str]:
    """The command of one search."""
    if data in DRIFTS:
        settings = ["data=synthetic", f"synthetic.drift={data}", *settings]
    settings = [*settings, f"seed={seed}", *SETTINGS]
    words = [str(Path(sys.executable).parent / "shiftsearch"), "search", experiment]
    words += [] if data in DRIFTS else ["--data", str(Path(data).absolute())]
    words += ["--run", str(run), "--trials", str(NO_LIMIT), "--seconds", str(seconds)]
    return words + [part for setting in settings for part in ("--set", setting)]


def search_all(commands: Mapping[Path, Sequence[str]], cores: Sequence[int]) -> None:
    """Run searches at the same time, each on a core of its own, in order.

    Args:
        commands: by run folder; finished runs are left alone.
        cores: at least as many as commands.

    Raises:
        FileExistsError: a run was cut off; if it were continued, its time would be wrong.
        RuntimeError: a search failed.
    """
    missing = {run: words for run, words in commands.items() if not Run(run).result.exists()}
    for run in missing:
        if run.exists():
            raise FileExistsError(f"{run}: holds a run that was cut off; remove it")
    running = []
    for core, (run, words) in zip(cores, missing.items(), strict=False):
        log = run.with_suffix(".log")
        print(f"{' '.join(words)} > {log}", flush=True)
        with log.open("w", encoding="utf-8") as output:
            pinned = ["taskset", "--cpu-list", str(core), *words]
            running.append(
                (log, subprocess.Popen(pinned, stdout=output, stderr=subprocess.STDOUT))
            )
    failed = [f"{log} ({code})" for log, process in running if (code := process.wait()) != 0]
    if failed:
        raise RuntimeError(f"searches failed; see {', '.join(failed)}")


def table(arms: Mapping[str, Sequence[Found]]) -> list[str]:
    """The table in Markdown; the first experiment is what the others are compared with."""
    lines = [
        "| experiment | searches | trials, mean | exported model, held out | minus first, points |"
        " winner's replicates, held out | minus first, points |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    first = next(iter(arms.values()))
    for name, own in arms.items():
        cells = [name, str(len(own)), f"{fmean(each.trials for each in own):.0f}"]
        for field in ("model", "replicates"):
            values = [100 * float(getattr(each, field)) for each in own]
            base = [100 * float(getattr(each, field)) for each in first]
            cells.append(_interval(values, "{:.2f} % ({:.2f} to {:.2f})"))
            differences = [a - b for a, b in zip(values, base, strict=True)]
            cells.append(
                "-" if own is first else _interval(differences, "{:+.2f} ({:+.2f} to {:+.2f})")
            )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _interval(values: Sequence[float], form: str) -> str:
    return form.format(*mean_interval(values)) if len(values) > 1 else f"{values[0]:.2f}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the missing searches and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", required=True, help="a folder, or a drift's name")
    parser.add_argument("--experiment", action="append", required=True, help="a name or a file")
    parser.add_argument("--seconds", type=float, required=True, help="of searching")
    parser.add_argument("--seeds", type=int, default=5, help="study seeds 0, 1, ...")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    options = parser.parse_args(argv)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < len(options.experiment):
        parser.error(f"{len(options.experiment)} experiments need a core each, not {len(cores)}")
    folder = options.out.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    arms: dict[str, list[Found]] = {load(each).name: [] for each in options.experiment}
    for seed in range(options.seeds):
        runs = {name: folder / f"{name}-{seed}" for name in arms}
        commands = {
            runs[name]: command(
                each, options.data, runs[name], options.seconds, seed, options.settings
            )
            for name, each in zip(arms, options.experiment, strict=True)
        }
        turned = seed % len(cores)
        search_all(commands, cores[turned:] + cores[:turned])
        for name, run in runs.items():
            arms[name].append(found(Run(run)))
    print("\n".join([f"\n{circumstances()}\n", *table(arms)]))


if __name__ == "__main__":
    main()
