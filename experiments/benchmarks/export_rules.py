"""What each rule of export would export from finished runs, and how good that is.

    python -m shiftsearch.experiments.benchmarks.export_rules --run RUN --data DIR [--run ...]

A table for each set: over its runs, the mean accuracy on the held-out part with its 95 % interval
over runs, its median, the number of forward passes, the accuracy on the selection part and the
optimism (selected on minus held out). A rule with "checked" takes a combination only if it beats
the best single model on images that did not choose it, as a search does.

It looks at the held-out part of these runs, and these looks are not counted in their `looks.json`.
Use it on runs that were made to compare rules, not to report a model's accuracy.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import numpy as np

from shiftsearch.data.cache import open_dataset, open_pack
from shiftsearch.data.dataset import Dataset
from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.definition import load
from shiftsearch.experiments.outcome.blends import Blend, Model, Predictor
from shiftsearch.experiments.outcome.choice import RULES, Candidates, Choice, choose
from shiftsearch.experiments.outcome.judged import judge
from shiftsearch.experiments.outcome.kept import weights_kept
from shiftsearch.experiments.outcome.results import parts_of
from shiftsearch.experiments.outcome.retrain import Retraining
from shiftsearch.experiments.outcome.statistics import mean_interval
from shiftsearch.experiments.outcome.trained import Trained, trained_models
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.model.device import choose_device
from shiftsearch.model.objective import OBJECTIVES
from shiftsearch.search.study.records import stored_identity, stored_trials

COMBINED = tuple(name for name in RULES if name != "single")


@dataclass(frozen=True)
class Exported:
    """What a rule would export from one run.

    Attributes:
        held_out, selected: accuracy on the parts of TEST2, in 0..1.
        passes: number of networks that compute each image.
    """

    held_out: float
    selected: float
    passes: int


def exported_by_rules(run: Run, dataset: Dataset) -> dict[str, Exported]:
    """What each rule would export, by its name; without a combination, the best single model.

    Raises:
        NotARun: the run is not finished, or nothing is held out.
    """
    experiment, trials = load(str(run.definition)), stored_trials(run.journal)
    retraining = Retraining(
        trials,
        experiment.retrain,
        experiment.protocol,
        experiment.also_fine_tune_on,
        run.retrained,
        lambda result: weights_kept(run.store, result, experiment.protocol),
        experiment.objectives[1:],
    )
    winner = retraining.winner()
    device = choose_device()
    device.apply()
    parts = parts_of(dataset, experiment.protocol, device)
    if winner is None or parts[-1].name != "held-out":
        raise NotARun(f"{run.folder}: has no winner, or nothing is held out")
    predictor = Predictor(run.store, dataset, parts, device, OBJECTIVES[experiment.objective])
    trained = trained_models(trials, retraining.candidates(), run.store)
    candidates = Candidates(trained, predictor, experiment.export.max_members)
    rows = np.arange(len(predictor.labels))
    replicates = [
        Trained(winner.number, r, winner.configuration, result, winner.objective)
        for r, result in sorted(winner.results.items())
    ]
    best = max(replicates, key=lambda t: (t.score[0], -t.replicate))
    alone = choose("single", candidates)
    found = {"replicate": Choice(Model("replicate", (Blend((best,)),)), "replicate")}
    found["single"] = alone
    for rule in COMBINED:
        made = RULES[rule](candidates, rows)
        found[rule] = alone if made is None else Choice(made, rule)
        found[f"{rule}, checked"] = choose(rule, candidates)
    return {name: _scored(choice, predictor) for name, choice in found.items()}


def _scored(choice: Choice, predictor: Predictor) -> Exported:
    judged = judge(choice, predictor)
    selected, held_out = (judged.evaluations["after", i].accuracy for i in (1, 2))
    return Exported(held_out, selected, len(choice.model.members))


def table(runs: Sequence[dict[str, Exported]]) -> list[str]:
    """The table of one set in Markdown."""
    lines = [
        "| rule | runs | held out: mean | 95 % interval | median | forward passes | selected on |"
        " optimism, points |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rule in runs[0]:
        own = [run[rule] for run in runs]
        values = [100 * one.held_out for one in own]
        interval = "-"
        if len(values) > 1:
            _, low, high = mean_interval(values)
            interval = f"{low:.2f} to {high:.2f}"
        selected = 100 * fmean(one.selected for one in own)
        lines.append(
            f"| {rule} | {len(own)} | {fmean(values):.2f} % | {interval} |"
            f" {median(values):.2f} % | {fmean(one.passes for one in own):.1f} |"
            f" {selected:.2f} % |"
            f" {selected - fmean(values):+.2f} |"
        )
    return lines


def _dataset(run: Run, data: str) -> Dataset:
    digest = stored_identity(run.journal)["data"]
    if run.pack.is_dir():
        return open_pack(run.pack, digest)
    if Path(data).is_dir():
        dataset = open_dataset(Path(data))[0]
    else:
        synthetic = load(str(run.definition)).synthetic
        dataset = synthesize(synthetic.seed, synthetic.size, drift=data)
    if dataset.digest != digest:
        raise NotARun(f"{run.folder}: was made from other data than {data}")
    return dataset


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--run", action="append", required=True, type=Path, help="a finished run")
    parser.add_argument(
        "--data", action="append", required=True, help="its folder of images, or a drift's name"
    )
    options = parser.parse_args()
    if len(options.run) != len(options.data):
        parser.error("give one --data for each --run, in the same order")
    found: dict[str, list[dict[str, Exported]]] = {}
    for folder, data in zip(options.run, options.data, strict=True):
        run = Run(folder.absolute())
        print(f"{folder}, {data}", flush=True)
        found.setdefault(data, []).append(exported_by_rules(run, _dataset(run, data)))
    for data, runs in found.items():
        print("\n".join([f"\n{data}:\n", *table(runs)]))


if __name__ == "__main__":
    main()
