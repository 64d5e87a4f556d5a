"""Trains a trial of a run again whose weights are not in the store any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.definition import Experiment
from shiftsearch.experiments.exits import Interrupted
from shiftsearch.experiments.outcome.repeats import Repeats
from shiftsearch.experiments.outcome.trainings import Trainings
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.storage.holding import held
from shiftsearch.experiments.wording import duration, one_line
from shiftsearch.model.report import stored_digest
from shiftsearch.model.result import STAGES, ProtocolResult
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.study.records import TrialRecord


@contextmanager
def recovered(
    run: Run,
    experiment: Experiment,
    dataset: Dataset,
    trials: Sequence[TrialRecord],
    number: int,
    console: Console,
) -> Iterator[ProtocolResult]:
    """Train a complete trial with its own seeds, into the run's store, on a local Ray.

    The stages that the store still has are not trained. It is said beforehand, and afterwards if
    the weights are not those of the search. The run is held inside, so that no search begins and
    removes the weights again.

    Args:
        run: the run.
        experiment: its experiment.
        dataset: its dataset.
        trials: its trials, by number.
        number: the trial.
        console: for the lines and the progress.

    Raises:
        NotARun: the trial cannot be trained on this machine.
        experiments.exits.Interrupted: a signal came, or workers were lost.
        search.study.journal.RunLocked: a search is using the run; see `storage.holding.held`.
        search.executing.resources.ResourceError: a trial does not fit on this machine.
    """
    before, store = trials[number].result, run.store
    assert before is not None
    with held(run, "`shiftsearch export`"):
        try:
            _say(
                console,
                f"the weights of trial {number} are not in {store.address} any more; it is "
                f"trained again with its own seed, which took "
                f"{duration(before.baseline.seconds + before.fine_tune.seconds)} in the search",
            )
            known = {stage: stored_digest(store, before.stage(stage)) for stage in STAGES}
            kept = Trainings(
                run.ray / "again" / "retrain.json", experiment.protocol, lambda _: True
            )
            job = Job("retrain", number, 0, trials[number].configuration)
            source = Repeats(kept, [job])
            from shiftsearch.experiments.training_again import train  # imports Ray

            train(experiment, run, dataset, trials, [(source, "")], console, None)
            training = kept.of(job)
        finally:
            run.tidy()
        if training is None or training.lost:
            raise Interrupted(
                "the training did not come to its end; the same command begins it again"
            )
        if training.result is None:
            raise NotARun(f"--trial {number}: {one_line(training.reason)}")
        new = {stage: stored_digest(store, training.result.stage(stage)) for stage in STAGES}
        if any(known[stage] not in (None, new[stage]) for stage in STAGES):
            _say(
                console,
                "its weights differ from those of the search, which were computed elsewhere or "
                "with other versions",
            )
        yield training.result


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False)
