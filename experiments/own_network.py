"""A person's own network in a search and in a bundle: where its source is found, who gets it.

The source is looked for in the current folder, then on Python's path. A search keeps it in the run
folder, from which the workers import it. No command imports what lies in a run folder or a bundle,
except for workers, whose driver has found the same source at the person's own place before.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.run_folder import user_path
from shiftsearch.model.architecture import Own
from shiftsearch.model.bundle import Bundle
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.own_network import give
from shiftsearch.model.own_source import OwnSource, find

if TYPE_CHECKING:
    from shiftsearch.experiments.definition import Experiment  # imports Optuna and SciPy

_LOG = logging.getLogger(__name__)


def found(name: str, key: str = "network") -> OwnSource:
    """The source of `MODULE:FUNCTION`, with a digest or without; `key` names it in problems.

    Raises:
        model.own_network.OwnNetworkError: there is none, or it has another digest.
    """
    return find(name, [user_path("."), *(Path(place) for place in sys.path if place)], key)


def prepare_own(experiment: Experiment, dataset: Dataset) -> OwnSource | None:
    """Import the experiment's own network, if it has one, and check it with the dataset.

    Raises:
        model.own_network.OwnNetworkError: it cannot be used; a line for each problem.
    """
    if experiment.network is None:
        return None
    source = found(experiment.network)
    give(source.name, source.load(), len(dataset.classes), dataset.image_size)
    return source


def load_with(folder: Path, name: str | None) -> Bundle:
    """Load a bundle, whose own network is the function `name`, if it has one.

    Raises:
        model.bundle_format.BundleError: the bundle is damaged, or needs another name.
        model.own_network.OwnNetworkError: the function cannot be used.
    """
    if name is None:
        return load_bundle(folder)
    source = found(name)
    bundle = load_bundle(folder, source.load())
    architecture = bundle.record.architecture
    trained = architecture.source if isinstance(architecture, Own) else source.name
    if not trained.endswith(source.digest):
        _LOG.warning(
            "warning: the source of %s is not that of the training: its digest is %s, and the"
            " bundle's is %s",
            name,
            source.digest,
            trained,
        )
    return bundle
