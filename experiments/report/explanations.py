"""The report's paragraphs: the protocol, the shift and what fine-tuning changed, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from statistics import median
from typing import Any

from shiftsearch.experiments.analysis.inside import LayerChange
from shiftsearch.experiments.analysis.run_analysis import Analysis
from shiftsearch.experiments.wording import counted, percent
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, StageHyperparameters
from shiftsearch.search.study.records import TrialRecord

ALIKE = 0.95
"""Linear CKA from which a layer is called little changed; a convention, not a test."""
ENOUGH = 160
"""Images that it takes to judge by CKA. Of networks of two runs, CKA on so many images was at most
0.03 higher than on 600, and on 40 images up to 0.12 higher, which lifted layers above `ALIKE`."""
FROZEN = "fine_tune.frozen_layers"


def protocol_lines(result: Mapping[str, Any]) -> list[str]:
    """The protocol with its numbers, one or two sentences for each step."""
    dataset, protocol, division = (result[k] for k in ("dataset", "protocol", "division"))
    n = {split: sum(counts) for split, counts in dataset["counts"].items()}
    height, width = dataset["image_size"]
    classes = len(dataset["classes"])
    winner = Hyperparameters.from_flat(result["winner"]["configuration"])
    network = winner.network.architecture
    source, learnt = Protocol(**protocol).fine_tuned_on(winner.fine_tune), n["TEST"]
    if source != "TEST":
        learnt += n["TRAIN"]
    held_out = (
        f"{division['held_out_n']} are held out: not used for training, stopping or ranking"
        if division["held_out_n"]
        else "none is held out"
    )
    return [
        f"Network: {network.description} with dropout, and one of {classes} outputs; "
        f"images of {height}x{width} pixels, intensities in 0..1. {_optimisers(winner)}.",
        f"Baseline: trained on the {n['TRAIN']} images of TRAIN, stopped on the {n['TEST']} of "
        f"TEST; {_schedule(protocol['baseline'], winner.baseline)}.",
        f"Fine-tune: from the baseline's best weights, some layers frozen, trained on the "
        f"{learnt} images of {source}, stopped on the {division['selection_n']} of TEST2's "
        f"selection part; {_schedule(protocol['fine_tune'], winner.fine_tune)}.",
        f"TEST2 is divided once, class by class (seed {division['seed']}): "
        f"{division['selection_n']} images to select on; {held_out}.",
        f"Search: every trial is one configuration through both stages, ranked by its accuracy on "
        f"the selection part. The best and the reference configuration are trained again as "
        f"{counted(result['retrain']['replicates'], 'new replicate')} each, and the best mean of "
        "these wins.",
    ]


def _optimisers(winner: Hyperparameters) -> str:
    titles = {"adamw": "AdamW", "sgd": "SGD with Nesterov momentum"}
    first, second = (titles[s.optimiser] for s in (winner.baseline, winner.fine_tune))
    if first == second:
        return f"Optimiser: {first}"
    return f"Optimiser: {first} in the baseline, {second} in the fine-tune"


def _schedule(schedule: Mapping[str, Any], values: StageHyperparameters) -> str:
    falls = {
        "plateau": f"is multiplied by {schedule['reduce_factor']:g} after "
        f"{schedule['reduce_after']} such",
        "cosine": "falls to zero along half a cosine",
        "linear": "falls to zero along a straight line",
    }
    steps, warm_up = schedule.get("min_updates", 0), values.warm_up_epochs
    return (
        f"at most {schedule['max_epochs']} epochs, ended after {schedule['patience']} without a "
        "lower validation loss"
        + (f", counted from {steps} optimiser steps on" if steps else "")
        + f"; the learning rate {falls[values.learning_rate_schedule]}"
        + (f", after {counted(warm_up, 'warm-up epoch')}" if warm_up else "")
    )


def shift_lines(analysis: Analysis) -> list[str]:
    """Which two splits are furthest apart, by each measure."""
    measures = {"intensity": "intensities", "mean_image": "mean images"}
    far = {m: max(analysis.shifts, key=lambda s: float(getattr(s, m))) for m in measures}
    pairs = {m: f"{shift.first} and {shift.second}" for m, shift in far.items()}
    if len(set(pairs.values())) == 1:
        return [f"By both measures, {pairs['intensity']} are furthest apart."]
    return [f"By their {measures[m]}, {pair} are furthest apart." for m, pair in pairs.items()]


def layer_lines(analysis: Analysis) -> list[str]:
    """What the change of representation says about freezing."""
    frozen = [layer.name for layer in analysis.layers if layer.frozen]
    free = [layer for layer in analysis.layers if not layer.frozen and layer.cka is not None]
    lines = [
        f"Frozen in this model: {_listed(frozen)}; fine-tuning did not change their weights."
        if frozen
        else "Nothing was frozen in this model."
    ]
    if free and analysis.cka_images < ENOUGH:
        return [
            *lines,
            f"CKA is not judged here: on only {analysis.cka_images} images it comes out too high.",
        ]
    if len(free) > 1:
        least, most = max(free, key=_cka), min(free, key=_cka)
        lines.append(
            f"Of the layers that were trained, {least.name} changed least (CKA {_cka(least):.3f}) "
            f"and {most.name} most (CKA {_cka(most):.3f})."
        )
    could_freeze = [layer for layer in analysis.layers[:-1] if not layer.frozen]  # not the head
    kept = list(takewhile(lambda layer: _cka(layer) >= ALIKE, could_freeze))
    if kept:
        lines.append(
            f"Though free to move, {_listed([layer.name for layer in kept])} kept nearly the same "
            f"representation (CKA {min(map(_cka, kept)):.3f} or more): by this measure, freezing "
            "them too would change little. Trials with as many frozen layers put that to the test."
        )
    elif could_freeze and could_freeze[0].cka is not None:
        first = could_freeze[0]
        lines.append(
            f"The first trained layer, {first.name}, moved to CKA {_cka(first):.3f}, below "
            f"{ALIKE}, from which a layer counts as little changed here: freezing it too would "
            "prevent a change that fine-tuning made."
        )
    return lines


def frozen_from_input(trial: TrialRecord) -> int | None:
    """The number of frozen layers; None if they are counted from the head, or not known."""
    chosen = trial.configuration
    if FROZEN not in chosen or chosen.get("fine_tune.freeze_from", "input") != "input":
        return None
    return int(chosen[FROZEN])


def frozen_rows(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """What the search found for each number of layers that are frozen from the input."""
    values: dict[int, list[float | None]] = {}
    for trial in trials:
        if trial.has_ended and (frozen := frozen_from_input(trial)) is not None:
            values.setdefault(frozen, []).append(trial.value)
    rows = []
    for frozen, found in sorted(values.items()):
        complete = [value for value in found if value is not None]
        rows.append(
            {
                "frozen": frozen,
                "n": len(complete),
                "ended": len(found) - len(complete),
                "median": percent(median(complete) if complete else None),
                "best": percent(max(complete, default=None)),
            }
        )
    return rows


def _cka(layer: LayerChange) -> float:
    return 0.0 if layer.cka is None else layer.cka


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
