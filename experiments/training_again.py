"""Runs replicates of a run's trials on Ray, outside a search."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rich.console import Console

from shiftsearch.data.dataset import Dataset
from shiftsearch.data.os_errors import in_words
from shiftsearch.experiments.definition import Experiment
from shiftsearch.experiments.exits import Interrupted, end_at_once
from shiftsearch.experiments.gpu_share import with_share
from shiftsearch.experiments.inputs import fit
from shiftsearch.experiments.live.board import Board
from shiftsearch.experiments.live.progress import Progress
from shiftsearch.experiments.outcome.repeats import Repeats
from shiftsearch.experiments.outcome.results import STAGES
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.workers import context_of
from shiftsearch.model.objective import OBJECTIVES
from shiftsearch.search.executing.cluster import cluster, cluster_nodes
from shiftsearch.search.executing.faults import EnvironmentFault
from shiftsearch.search.executing.joined import check_address
from shiftsearch.search.executing.tune import run_jobs
from shiftsearch.search.study.records import TrialRecord


def train(
    experiment: Experiment,
    run: Run,
    dataset: Dataset,
    trials: Sequence[TrialRecord],
    wanted: Sequence[tuple[Repeats, str]],
    console: Console,
    address: str | None,
) -> None:
    """Train what the sources want, one source after the other, until done or a signal comes.

    Args:
        experiment: the run's experiment.
        run: the run's folder, locked.
        dataset: the run's dataset.
        trials: the study's trials.
        wanted: sources, each with the address of the store to train into, empty for the run's.
        console: for progress.
        address: address of a Ray cluster to join; None starts a local one.

    Raises:
        experiments.exits.Interrupted: the machine cannot do any job now.
        search.executing.resources.ResourceError: not even one job fits, or no cluster answers.
    """
    if address is not None:
        check_address(address)
    protocol, objective = experiment.protocol, OBJECTIVES[experiment.objective]
    epochs: dict[str, int] = {
        stage: getattr(protocol, stage).max_epochs for stage in STAGES.values()
    }
    board = Board(experiment.name, experiment.trials, epochs, trials, objective)
    jobs = max(source.total - source.done for source, _ in wanted)
    try:
        end = partial(end_at_once, lambda _: None)
        with cluster(address, run.ray, end):
            asked = experiment.model_copy(update={"trials": jobs})
            nodes = cluster_nodes()
            first = context_of(experiment, run, dataset.digest, fit(asked, nodes), address)
            request = with_share(
                *(experiment.resources, experiment.search_space(), dataset, nodes, first),
                lambda line: console.print(line, soft_wrap=True),
            )
            resources = fit(asked, nodes, request)
            board.concurrency = resources.concurrency
            with Progress(console, board) as progress:
                for source, store in wanted:
                    progress.phase("retrain", source.total, source.done)
                    context = context_of(
                        experiment, run, dataset.digest, resources, address, store
                    )
                    run_jobs(source, [progress], context, resources, run.ray)
                    if not source.finished:
                        return
    except (EnvironmentFault, OSError) as error:
        raise Interrupted(in_words(error) if isinstance(error, OSError) else str(error)) from error
