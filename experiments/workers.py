"""What workers need to train for a run."""

from __future__ import annotations

from shiftsearch.experiments.definition import Experiment
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.storage.place import place_of
from shiftsearch.search.executing.resources import Resources
from shiftsearch.search.executing.trainable import WorkerContext


def context_of(
    experiment: Experiment,
    run: Run,
    digest: str,
    resources: Resources,
    address: str | None,
    store: str = "",
    *,
    notes: bool = False,
) -> WorkerContext:
    """The context of a run's workers.

    Args:
        experiment: the run's experiment.
        run: the run's folder, which holds the packed dataset.
        digest: digest of the dataset.
        resources: resources of one trial.
        address: of the Ray cluster that is joined; None on a local Ray.
        store: address of the store to train into; default: the run's own.
        notes: whether jobs note in the store what they use, for `experiments.collector`.
    """
    return WorkerContext(
        pack=str(run.pack),
        digest=digest,
        store=store or run.store.address,
        protocol=experiment.protocol.model_dump_json(),
        seed=experiment.seed,
        cpus=resources.cpus_per_trial,
        gpus=resources.gpus_per_trial,
        dtype=experiment.dtype,
        objective=experiment.objective,
        network=experiment.network or "",
        sources=str(run.network),
        joined=address is not None,
        notes=notes,
        remote="" if (place := place_of(run)) is None else place.url,
    )
