"""Write the bundle of a judged model, with its numbers and its card."""

from __future__ import annotations

from pathlib import Path

from shiftsearch.experiments.definition import Experiment
from shiftsearch.experiments.outcome.blends import Predictor
from shiftsearch.experiments.outcome.card import card
from shiftsearch.experiments.outcome.judged import Judged, bundle_rows
from shiftsearch.experiments.outcome.kept import weights_of
from shiftsearch.experiments.outcome.results import counts_of, versions
from shiftsearch.model.bundle_format import Origin
from shiftsearch.model.export import Member, save_bundle


def export_model(
    folder: Path, judged: Judged, predictor: Predictor, experiment: Experiment
) -> None:
    """Write a model, with its numbers, temperature and card, as a bundle; see `save_bundle`.

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
            "name": experiment.name,
            "licence": experiment.licence,
            "objective": experiment.objective,
            "images": counts_of(predictor.dataset),
            **judged.choice.to_json(),
            "calibration_error": {name: dict(each) for name, each in judged.calibration.items()},
        },
        further=further,
        card=card,
    )
