"""Checks before a search starts: the data fits the experiment, and the machine fits a trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from shiftsearch.data.augmentation import max_translation
from shiftsearch.data.cache import open_dataset
from shiftsearch.data.check import check
from shiftsearch.data.dataset import DataError, Dataset
from shiftsearch.data.folds import divide_into_folds
from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.definition import Experiment
from shiftsearch.model.architecture import ARCHITECTURES
from shiftsearch.model.prepared import division_of
from shiftsearch.search.executing.resources import Node, Resources, fit_resources
from shiftsearch.search.proposing.domains import domain_values

_TRANSLATION = ".translation"
_NETWORK = "network.name"


def fit(experiment: Experiment, nodes: Sequence[Node]) -> Resources:
    """Choose the experiment's resources on these nodes.

    Raises:
        search.executing.resources.ResourceError: not even one trial fits.
    """
    asked, jobs = experiment.resources, max(experiment.trials, experiment.retrain.replicates)
    return fit_resources(
        nodes, asked.cpus_per_trial, asked.gpus_per_trial, asked.concurrency, jobs
    )


def load_data(experiment: Experiment) -> tuple[Dataset, list[str]]:
    """The experiment's dataset, checked against the experiment, and warnings about it.

    Raises:
        data.dataset.DataError: the folder's data is wrong, or the experiment does not fit it.
    """
    if experiment.data == "synthetic":
        made = experiment.synthetic
        dataset = synthesize(made.seed, made.size, drift=made.drift)
        warnings = list[str]()
    else:
        dataset, warnings = open_dataset(Path(experiment.data))
    refuse_misfits(experiment, dataset)
    return dataset, [*warnings, *check(dataset).warnings, *nothing_held_out(experiment, dataset)]


def refuse_misfits(experiment: Experiment, dataset: Dataset) -> None:
    """Refuse an experiment that cannot run on the dataset, before anything is trained.

    Raises:
        data.dataset.DataError: the selection part of TEST2 lacks a class or is too small for the
            folds, a translation is too large for the images, or the images are too small for a
            network; one line each.
    """
    problems = [
        *_thin_selection(experiment, dataset),
        *_empty_folds(experiment, dataset),
        *_far_translations(experiment, dataset),
        *_small_images(experiment, dataset),
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


def _small_images(experiment: Experiment, dataset: Dataset) -> list[str]:
    """One line for each network, searched or fixed, that needs larger images."""
    space = experiment.search_space()
    domain = space.distributions.get(_NETWORK)
    names = [space.fixed.get(_NETWORK)] if domain is None else domain_values(domain) or ()
    height, width = dataset.image_size
    return [
        f"space.{_NETWORK}: {name!r}, but it needs images of at least {least}x{least} pixels, and"
        f" these have {height}x{width}"
        for name in names
        if name in ARCHITECTURES
        and (least := ARCHITECTURES[str(name)]().least_side) > min(height, width)
    ]


def _largest(distribution: BaseDistribution) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return max(float(c) for c in distribution.choices if isinstance(c, float | int))
    high: float = distribution.high  # type: ignore[attr-defined]
    return high
