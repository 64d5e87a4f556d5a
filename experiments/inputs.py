"""Checks before a search starts: the data fits the experiment, and the machine fits a trial."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from shiftsearch.data.augmentation import max_translation
from shiftsearch.data.cache import open_dataset
from shiftsearch.data.check import check
from shiftsearch.data.dataset import DataError, Dataset
from shiftsearch.data.folds import divide_into_folds
from shiftsearch.data.synthetic import synthesize
from shiftsearch.data.weights import WEIGHTS
from shiftsearch.experiments.definition import Experiment
from shiftsearch.experiments.own_network import prepare_own
from shiftsearch.experiments.sections import ResourceRequest
from shiftsearch.model.hyperparameters import Hyperparameters, NetworkHyperparameters, Value
from shiftsearch.model.prepared import division_of
from shiftsearch.search.executing.resources import Node, Resources, fit_resources
from shiftsearch.search.proposing.space import Space

_TRANSLATION = ".translation"
_FROZEN = "fine_tune.frozen_layers"


def fit(
    experiment: Experiment, nodes: Sequence[Node], asked: ResourceRequest | None = None
) -> Resources:
    """Choose the experiment's resources on these nodes.

    Args:
        experiment: the experiment.
        nodes: the machines.
        asked: what is asked for; None: what the experiment asks for, and a whole GPU for `auto`.

    Raises:
        search.executing.resources.ResourceError: not even one trial fits.
    """
    asked = asked or experiment.resources
    jobs = max(experiment.trials, experiment.retrain.replicates)
    gpus = None if isinstance(asked.gpus_per_trial, str) else asked.gpus_per_trial
    return fit_resources(nodes, asked.cpus_per_trial, gpus, asked.concurrency, jobs)


def load_data(experiment: Experiment) -> tuple[Dataset, list[str]]:
    """The experiment's dataset, checked against the experiment, and warnings about it.

    Raises:
        data.dataset.DataError: the folder's data is wrong, or the experiment does not fit it.
        model.own_network.OwnNetworkError: the experiment's own network cannot be used.
    """
    if experiment.data == "synthetic":
        made = experiment.synthetic
        dataset = synthesize(made.seed, made.size, drift=made.drift)
        warnings = list[str]()
    else:
        dataset, warnings = open_dataset(Path(experiment.data), how=experiment.images.reading)
    prepare_own(experiment, dataset)
    refuse_misfits(experiment, dataset)
    return dataset, [*warnings, *check(dataset).warnings, *nothing_held_out(experiment, dataset)]


def refuse_misfits(experiment: Experiment, dataset: Dataset) -> None:
    """Refuse an experiment that cannot run on the dataset, before anything is trained.

    Raises:
        data.dataset.DataError: the selection part of TEST2 lacks a class or is too small for the
            folds, a translation is too large for the images, or they are too small for a network,
            more layers may be frozen than a network has, or weights are asked for that the images
            lack; one line each.
    """
    problems = [
        *_thin_selection(experiment, dataset),
        *_empty_folds(experiment, dataset),
        *_far_translations(experiment, dataset),
        *_small_images(experiment, dataset),
        *_many_frozen(experiment),
        *_missing_weights(experiment, dataset),
    ]
    if problems:
        raise DataError(problems)


def nothing_held_out(experiment: Experiment, dataset: Dataset) -> list[str]:
    """One line if a part of TEST2 should be held out but is too small to contain an image."""
    protocol, test2 = experiment.protocol, dataset.splits["TEST2"]
    if protocol.holdout == 0 or len(division_of(dataset, protocol).held_out):
        return []
    return [
        f"TEST2: none of its {len(test2)} images is held out with protocol.holdout"
        f" {protocol.holdout:g}, so the result has no held-out accuracy: add images, or raise"
        " protocol.holdout"
    ]


def _thin_selection(experiment: Experiment, dataset: Dataset) -> list[str]:
    """One line for each class without an image in the selection part."""
    protocol, labels = experiment.protocol, dataset.splits["TEST2"].labels
    chosen = labels[division_of(dataset, protocol).selection]
    here, there = (np.bincount(part, minlength=len(dataset.classes)) for part in (chosen, labels))
    return [
        f"TEST2: class {name!r} has {there[label]} images, and none of them is in the selection"
        f" part with protocol.holdout {protocol.holdout:g} ({len(chosen)} of {len(labels)} images"
        " are); every class must have at least one there: add images, or lower protocol.holdout"
        for label, name in enumerate(dataset.classes)
        if here[label] == 0
    ]


def _empty_folds(experiment: Experiment, dataset: Dataset) -> list[str]:
    """One line if a fold of the selection part would have no image."""
    protocol = experiment.protocol
    selection = dataset.splits["TEST2"].take(division_of(dataset, protocol).selection)
    folds = divide_into_folds(selection, protocol.folds, protocol.division_seed)
    if protocol.folds == 1 or all(map(len, folds)):
        return []
    return [
        f"protocol.folds: {protocol.folds}, but the {len(selection)} images of TEST2's selection"
        " part do not fill so many folds, class by class and with identical images together: add"
        " images, or lower protocol.folds"
    ]


def _far_translations(experiment: Experiment, dataset: Dataset) -> list[str]:
    """One line for each translation in the space, searched or fixed, that is too large.

    Points need no check, because they lie in the space.
    """
    height, width = dataset.image_size
    most = max_translation(dataset.image_size)
    space = experiment.search_space()
    largest = {k: float(v) for k, v in space.fixed.items() if k.endswith(_TRANSLATION)}
    domains = space.distributions.items()
    largest |= {k: _largest(d) for k, d in domains if k.endswith(_TRANSLATION)}
    return [
        f"space.{name}: {value:g}, but must be at most {most:g} pixels for images of"
        f" {height}x{width}"
        for name, value in largest.items()
        if value > most
    ]


def networks(space: Space) -> list[NetworkHyperparameters]:
    """The networks that the space may build: all choices, and the ends of each range."""
    names = [name for name in space.distributions if name.startswith("network.")]
    ends = [_ends(space.distributions[name]) for name in names]
    drawn = (dict(zip(names, values, strict=True)) for values in product(*ends))
    found = [Hyperparameters.from_flat(space.complete(values)).network for values in drawn]
    return list(dict.fromkeys(found))


def _small_images(experiment: Experiment, dataset: Dataset) -> list[str]:
    """One line if a network of the space needs larger images."""
    height, width = dataset.image_size
    found = networks(experiment.search_space())
    most = max(found, key=lambda network: network.architecture.least_side)
    least = most.architecture.least_side
    if least <= min(height, width):
        return []
    values = ", ".join(f"{name} {value}" for name, value in most.existing().items())
    return [
        f"space.network: {values}: it needs images of at least {least}x{least} pixels, and these"
        f" have {height}x{width}"
    ]


def _many_frozen(experiment: Experiment) -> list[str]:
    """One line if more layers may be frozen than any network of the space has."""
    space = experiment.search_space()
    domain, fixed = space.distributions.get(_FROZEN), space.fixed.get(_FROZEN, 0)
    asked = float(fixed) if domain is None else _largest(domain)
    most = max(len(n.architecture.layer_names) for n in networks(space))
    if asked <= most:
        return []
    return [f"space.{_FROZEN}: {asked:g}, but must be at most {most}, the layers of the network"]


def _ends(distribution: BaseDistribution) -> Sequence[Any]:
    """The choices, or both ends of a range."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    return distribution.low, distribution.high  # type: ignore[attr-defined]


def _missing_weights(experiment: Experiment, dataset: Dataset) -> list[str]:
    """One line for each stage that may take weights from a file, if its images have none."""
    protocol = experiment.protocol
    both = protocol.fine_tune_on != "TEST" or any(
        _values(experiment, f"fine_tune.{name}") != [neutral]
        for name, neutral in (("train_on", "TEST"), ("train_share", 0.0))
    )
    trained = {"baseline": ("TRAIN",), "fine_tune": ("TRAIN", "TEST") if both else ("TEST",)}
    return [
        f"space.{stage}.sample_weights: 'file', but {' and '.join(splits)} have no {WEIGHTS}"
        for stage, splits in trained.items()
        if "file" in _values(experiment, f"{stage}.sample_weights")
        and all(dataset.splits[name].weights is None for name in splits)
    ]


def _values(experiment: Experiment, name: str) -> list[Value]:
    """The values that a hyperparameter may have; of a range its ends."""
    space = experiment.search_space()
    domain = space.distributions.get(name)
    if domain is None:
        return [space.fixed.get(name, Hyperparameters.defaults()[name])]
    return list(_ends(domain))


def _largest(distribution: BaseDistribution) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return max(float(c) for c in distribution.choices if isinstance(c, float | int))
    high: float = distribution.high  # type: ignore[attr-defined]
    return high
