"""Whether an experiment fits its dataset: what can only be said once the images are read."""

from __future__ import annotations

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from shiftsearch.data.augmentation import max_translation
from shiftsearch.data.dataset import DataError, Dataset
from shiftsearch.experiments.definition import Experiment
from shiftsearch.model.architecture import ARCHITECTURES
from shiftsearch.model.protocol import division_of
from shiftsearch.search.proposing.domains import domain_values

_TRANSLATION = ".translation"
_NETWORK = "network.name"


def refuse_misfits(experiment: Experiment, dataset: Dataset) -> None:
    """Refuse an experiment that cannot run on the dataset; nothing is trained yet.

    Raises:
        data.dataset.DataError: the selection part of TEST2 lacks a class, a translation is too
            large for the images, or the images are too small for a network; one line each.
    """
    problems = [
        *_thin_selection(experiment, dataset),
        *_far_translations(experiment, dataset),
        *_small_images(experiment, dataset),
    ]
    if problems:
        raise DataError(problems)


def _thin_selection(experiment: Experiment, dataset: Dataset) -> list[str]:
    """A line for each class without an image in the selection part."""
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


def _far_translations(experiment: Experiment, dataset: Dataset) -> list[str]:
    """A line for each translation, searched or fixed, that is too far; points lie in the space."""
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
    """A line for each network, searched or fixed, that needs larger images."""
    space = experiment.search_space()
    domain = space.distributions.get(_NETWORK)
    names = [space.fixed.get(_NETWORK)] if domain is None else domain_values(domain) or ()
    height, width = dataset.image_size
    return [
        f"space.{_NETWORK}: {name!r}, but it needs images of {least} pixels a side at least, and"
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
