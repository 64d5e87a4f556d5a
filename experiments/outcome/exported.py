"""Write the bundle of a scored model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.definition import Experiment
from shiftsearch.experiments.outcome.blends import Predictor
from shiftsearch.experiments.outcome.judged import Judged, bundle_rows
from shiftsearch.experiments.outcome.kept import weights_of
from shiftsearch.experiments.outcome.results import Part, Scored, part_rows, versions
from shiftsearch.model.bundle_format import Origin
from shiftsearch.model.export import Member, save_bundle
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


def export_model(
    folder: Path, judged: Judged, predictor: Predictor, experiment: Experiment
) -> None:
    """Write a chosen model, with its numbers and temperature, as a bundle; see `save_bundle`.

    Args:
        folder: the bundle's folder, which is replaced if it is a bundle.
        judged: the model, scored.
        predictor: that scored it.
        experiment: the run's experiment.

    Raises:
        model.bundle_format.BundleError: `folder` holds something else.
    """
    model, store = judged.choice.model, predictor.store
    first, seed = model.first, experiment.seed
    further = [
        Member(
            predictor.weights(blend),
            (own := blend.of[0]).hyperparameters,
            share,
            Origin(seed=seed, number=own.number, replicate=own.replicate),
        )
        for blend, share in list(zip(model.members, model.shares, strict=True))[1:]
    ]
    save_bundle(
        folder,
        weights=predictor.weights(model.members[0]),
        baseline_weights=weights_of(store, first.result, "baseline"),
        dataset=predictor.dataset,
        hyperparameters=first.hyperparameters,
        protocol=experiment.protocol,
        metrics=bundle_rows(judged, predictor),
        versions=versions(),
        seed=seed,
        number=first.number,
        replicate=first.replicate,
        temperature=judged.temperature,
        model={
            **judged.choice.to_json(),
            "calibration_error": {name: dict(each) for name, each in judged.calibration.items()},
        },
        further=further,
    )
