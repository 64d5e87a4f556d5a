"""Paragraphs of the report: the protocol, the shift, and what fine-tuning changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from statistics import median
from typing import Any

from shiftsearch.experiments.analysis.inside import LayerChange
from shiftsearch.experiments.analysis.run_analysis import Analysis
from shiftsearch.experiments.wording import counted, percent
from shiftsearch.model.batches import from_train_per_batch
from shiftsearch.model.hyperparameters import (
    FineTuneHyperparameters,
    Hyperparameters,
    Protocol,
    StageHyperparameters,
)
from shiftsearch.model.objective import ACCURACY, OBJECTIVES
from shiftsearch.search.study.records import TrialRecord

ALIKE = 0.95
"""Linear CKA from which on a layer counts as little changed; a convention, not a test."""
ENOUGH = 160
"""Least number of images to judge by CKA. For networks of two runs, CKA on 160 images was at most
0.03 higher than on 600. On 40 images it was up to 0.12 higher, and layers exceeded `ALIKE`."""
FROZEN = "fine_tune.frozen_layers"


def protocol_lines(result: Mapping[str, Any]) -> list[str]:
    """The protocol with its numbers, one or two sentences for each step."""
    dataset, protocol, division = (result[k] for k in ("dataset", "protocol", "division"))
    n = {split: sum(counts) for split, counts in dataset["counts"].items()}
    height, width = dataset["image_size"]
    classes = len(dataset["classes"])
    winner = Hyperparameters.from_flat(result["winner"]["configuration"])
    objective = OBJECTIVES[result.get("objective", ACCURACY.name)].title
    network = winner.network.architecture
    trained = _fine_tuned_on(n, Protocol(**protocol), winner.fine_tune)
    held_out = (
        f"{division['held_out_n']} are held out: not used for training, stopping or ranking"
        if division["held_out_n"]
        else "none is held out"
    )
    steps = winner.preprocessing.content()
    return [
        f"Network: {network.description} with dropout, and one of {classes} outputs; "
        f"images of {height}x{width} pixels, intensities in 0..1. {_optimisers(winner)}.",
        *(
            [f"Preprocessing: {', '.join(f'{name} {value}' for name, value in steps.items())}."]
            if steps
            else []
        ),
        f"Baseline: trained on the {n['TRAIN']} images of TRAIN, validated on the {n['TEST']} of "
        f"TEST; {_schedule(protocol['baseline'], winner.baseline)}.",
        f"Fine-tune: from the baseline's best weights, {_frozen(winner.fine_tune)}, trained on "
        f"{trained}, validated on the {division['selection_n']} of TEST2's "
        f"selection part; {_schedule(protocol['fine_tune'], winner.fine_tune)}.",
        *_weights(winner),
        f"TEST2 is divided once, class by class (seed {division['seed']}): "
        f"{division['selection_n']} images are the selection part; {held_out}.",
        *_cross_fitted(protocol.get("folds", 1)),
        f"Search: every trial puts one configuration through both stages, and is ranked by its "
        f"{objective} on the selection part. The best and the reference configuration are "
        f"retrained with new seeds, {_retrained(result)}, and the best mean over these wins.",
    ]


def _retrained(result: Mapping[str, Any]) -> str:
    """How many new replicates the configurations got."""
    counts = [len(c["replicates"]) + len(c["failed"]) for c in result["retrain"]["candidates"]]
    least, most = min(counts), max(counts)
    if least == most:
        return f"{counted(least, 'replicate')} each"
    return (
        f"{least} to {most} replicates each: more for the best and for those that are hard to "
        "tell from it"
    )


def _fine_tuned_on(
    n: Mapping[str, int], protocol: Protocol, values: FineTuneHyperparameters
) -> str:
    """The images of the fine-tune, in words."""
    source = protocol.fine_tuned_on(values)
    if values.train_share:
        own = from_train_per_batch(values.batch_size, values.train_share)
        return (
            f"the {n['TEST']} images of TEST, with {own} of {values.batch_size} images of each "
            "batch from TRAIN"
        )
    learnt = n["TEST"] + (n["TRAIN"] if source != "TEST" else 0)
    return f"the {learnt} images of {source}"


def _frozen(values: FineTuneHyperparameters) -> str:
    """What is frozen, in words; the numbers are the winner's."""
    if values.frozen_layers:
        count = counted(values.frozen_layers, "layer")
        said = f"with {count} frozen from the {values.freeze_from}"
        if values.unfreezing == "gradual":
            said += f", one of them thawed every {counted(values.thaw_every, 'epoch')}"
    else:
        said = "with no layer frozen"
    if values.unfreezing == "linear probe":
        said = f"first the head alone for {counted(values.probe_epochs, 'epoch')}, then {said}"
    return said


def _weights(winner: Hyperparameters) -> list[str]:
    """A sentence for each source of the winner's weights of images."""
    stages = {"baseline": winner.baseline, "fine-tune": winner.fine_tune}
    sources = {
        "file": "the files `weights.csv`",
        "density_ratio": "how much they look like TEST2's selection part; its labels are not used",
    }
    return [
        f"Images are weighted in the {' and the '.join(own)} by {text}."
        for source, text in sources.items()
        if (own := [name for name, values in stages.items() if values.sample_weights == source])
    ]


def _cross_fitted(folds: int) -> list[str]:
    if folds == 1:
        return []
    return [
        f"Cross-fitting: the selection part is divided into {folds} folds. Each is scored by a "
        "fine-tune that the others validated, so its images chose neither the best epoch nor the "
        "reductions of the learning rate. These scores rank the trials, and are called out of "
        "fold. A replicate has one more fine-tune, validated on the whole selection part."
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
        f"{schedule['reduce_after']} such epochs",
        "cosine": "falls to zero along half a cosine",
        "linear": "falls to zero along a straight line",
    }
    steps, warm_up = schedule.get("min_updates", 0), values.warm_up_epochs
    return (
        f"at most {schedule['max_epochs']} epochs, stopped after {schedule['patience']} epochs "
        "without a lower validation loss"
        + (f", counted from {steps} optimiser steps on" if steps else "")
        + f"; the learning rate {falls[values.learning_rate_schedule]}"
        + (f", after {counted(warm_up, 'warm-up epoch')}" if warm_up else "")
    )


def shift_lines(analysis: Analysis) -> list[str]:
    """The two splits that are furthest apart, by each measure."""
    measures = {"intensity": "intensities", "mean_image": "mean images"}
    far = {m: max(analysis.shifts, key=lambda s: float(getattr(s, m))) for m in measures}
    pairs = {m: f"{shift.first} and {shift.second}" for m, shift in far.items()}
    if len(set(pairs.values())) == 1:
        return [f"By both measures, {pairs['intensity']} are furthest apart."]
    return [f"By their {measures[m]}, {pair} are furthest apart." for m, pair in pairs.items()]


def layer_lines(analysis: Analysis) -> list[str]:
    """What the change of each layer's outputs means for freezing."""
    frozen = [layer.name for layer in analysis.layers if layer.frozen]
    free = [layer for layer in analysis.layers if not layer.frozen and layer.cka is not None]
    lines = [
        f"Frozen in this model: {listed(frozen)}; fine-tuning did not change their weights."
        if frozen
        else "Nothing was frozen in this model."
    ]
    if free and analysis.cka_images < ENOUGH:
        return [
            *lines,
            f"CKA is not judged here: on only {analysis.cka_images} images it is too high.",
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
            f"Although trained, {listed([layer.name for layer in kept])} kept nearly the same "
            f"representation (CKA {min(map(_cka, kept)):.3f} or more). By this measure, freezing "
            "them as well would change little. Trials with as many frozen layers can test this."
        )
    elif could_freeze and could_freeze[0].cka is not None:
        first = could_freeze[0]
        lines.append(
            f"The first trained layer, {first.name}, has CKA {_cka(first):.3f}. This is below "
            f"{ALIKE}, from which on a layer counts as little changed here. Freezing it as well "
            "would prevent a change that fine-tuning made."
        )
    return lines


def frozen_from_input(trial: TrialRecord) -> int | None:
    """The number of frozen layers; None if they are counted from the head, or not known.

    Gradual unfreezing thaws them, after a number of epochs that differs between trials.
    """
    chosen = trial.configuration
    if FROZEN not in chosen or chosen.get("fine_tune.freeze_from", "input") != "input":
        return None
    if chosen.get("fine_tune.unfreezing") == "gradual":
        return None
    return int(chosen[FROZEN])


def frozen_rows(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Trials and their accuracies for each number of layers that are frozen from the input."""
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


def listed(names: Sequence[str]) -> str:
    """`a, b and c`; at least one name."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
