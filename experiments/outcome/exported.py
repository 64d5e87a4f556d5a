"""Write the bundle of a scored model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.definition import Experiment
from shiftsearch.experiments.outcome.kept import weights_of
from shiftsearch.experiments.outcome.results import Part, Scored, part_rows, versions
from shiftsearch.model.export import save_bundle
from shiftsearch.model.hyperparameters import Hyperparameters
from shiftsearch.model.result import STAGES
from shiftsearch.model.store import Store


def export_bundle(
    folder: Path,
    scored: Scored,
    replicate: int,
    parts: Sequence[Part],
    store: Store,
    dataset: Dataset,
    experiment: Experiment,
) -> None:
    """Write one replicate's weights, with its accuracies, as a bundle; see `save_bundle`.

    Args:
        folder: the bundle's folder, which is replaced if it is a bundle.
        scored: the configuration, scored on `parts`.
        replicate: which of its replicates.
        parts: the scored parts.
        store: the run's store.
        dataset: the run's dataset.
        experiment: the run's experiment.

    Raises:
        model.bundle_format.BundleError: `folder` holds something else.
    """
    candidate = scored.candidate
    result = candidate.results[replicate]
    before, after = (weights_of(store, result, stage) for stage in STAGES)
    save_bundle(
        folder,
        weights=after,
        baseline_weights=before,
        dataset=dataset,
        hyperparameters=Hyperparameters.from_flat(candidate.configuration),
        protocol=experiment.protocol,
        metrics=part_rows(scored, parts, replicate),
        versions=versions(),
        seed=experiment.seed,
        number=candidate.number,
        replicate=replicate,
    )
