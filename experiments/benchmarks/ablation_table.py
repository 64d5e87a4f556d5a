"""The table of `experiments.benchmarks.ablation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from shiftsearch.experiments.outcome.statistics import mean_interval
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.objective import ACCURACY, Objective


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
        seconds: processor seconds of both stages.
        balanced_accuracy: in 0..1; None in results of earlier versions.
    """

    accuracy: float
    seconds: float
    balanced_accuracy: float | None = None


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
    what = "" if objective == ACCURACY else f"{objective.title}, "
    lines = [
        f"| option | n | {what}TEST2, selection part: mean | sd | minus base, points "
        "| CPU seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for place, one in enumerate(variants):
        own = {seed: t for (at, seed), t in trained.items() if at == place}
        if not own:
            lines.append(f"| {one.name} | 0 | - | - | - | - |")
            continue
        values = {key: 100 * _value(t, objective) for key, t in trained.items()}
        accuracies = [values[place, seed] for seed in own]
        shared = [seed for seed in own if (0, seed) in trained]
        differences = [values[place, seed] - values[0, seed] for seed in shared]
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
    value = trained.accuracy if objective == ACCURACY else trained.balanced_accuracy
    if value is None:
        raise ValueError("the results of an earlier version have no balanced accuracy")
    return value


def chosen(
    variants: Sequence[Variant],
    trained: Mapping[tuple[int, int], Trained],
    objective: Objective,
) -> Variant:
    """The variant with the best mean of this objective; of equal ones the first."""

    def mean(place: int) -> float:
        own = [_value(t, objective) for (at, _), t in trained.items() if at == place]
        return fmean(own) if own else 0.0

    return variants[max(range(len(variants)), key=lambda place: (mean(place), -place))]
