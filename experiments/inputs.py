"""What a search needs before it starts: its data, and room for its trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shiftsearch.data.cache import open_dataset
from shiftsearch.data.dataset import Dataset
from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.definition import Experiment
from shiftsearch.search.executing.resources import Node, Resources, fit_resources


def load_data(experiment: Experiment) -> tuple[Dataset, list[str]]:
    """The experiment's dataset and warnings about it.

    Raises:
        data.dataset.DataError: when the folder's data is wrong.
    """
    if experiment.data == "synthetic":
        return synthesize(experiment.synthetic.seed, experiment.synthetic.size), []
    return open_dataset(Path(experiment.data))


def fit(experiment: Experiment, nodes: Sequence[Node]) -> Resources:
    """The experiment's resources on these nodes.

    Raises:
        search.executing.resources.ResourceError: not even one trial fits.
    """
    asked, jobs = experiment.resources, max(experiment.trials, experiment.retrain.replicates)
    return fit_resources(
        nodes, asked.cpus_per_trial, asked.gpus_per_trial, asked.concurrency, jobs
    )
