"""How a call of `search` takes up what earlier calls left: failures, and stored trainings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shiftsearch.experiments.call import Call
from shiftsearch.experiments.definition import DefinitionError, Experiment
from shiftsearch.experiments.mapping import MappingError, read_mapping
from shiftsearch.experiments.outcome.kept import weights_kept
from shiftsearch.experiments.outcome.retrain import Retraining
from shiftsearch.experiments.outcome.trainings import forget_failed
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.wording import counted
from shiftsearch.search.judging.racing import Retrain
from shiftsearch.search.study.failures import ALL, to_retry
from shiftsearch.search.study.records import TrialRecord
from shiftsearch.search.study.study import Study


def refuse_new(call: Call, run: Run, begun: bool) -> None:
    """Refuse to try failed trials of a run again that is not begun.

    Raises:
        DefinitionError: there is no such run.
    """
    if call.retry is not None and not begun:
        raise DefinitionError([f"--retry-failed: {run.folder} holds no run yet"])


def keep_as_begun(experiment: Experiment, run: Run) -> Experiment:
    """The experiment; a run of a version without the key `keep` goes on to keep all weights.

    It does not if the call gives the key.
    """
    if "keep" in experiment.model_fields_set or not run.definition.exists():
        return experiment
    try:
        known = "keep" in read_mapping(run.definition)
    except MappingError:  # damaged, and written again by this call
        known = False
    return experiment if known else experiment.model_copy(update={"keep": "all"})


def take_up(call: Call, run: Run, study: Study) -> list[str]:
    """Try again what the call asks for; returns one line for each thing that is tried again.

    Args:
        call: this call.
        run: a locked run.
        study: its study, before any trial is asked for.

    Raises:
        DefinitionError: the call names a trial that cannot be tried again.
        experiments.run_folder.NotARun: `retrain.json` is damaged.
    """
    lines = []
    if call.retry is not None:
        try:
            failed = to_retry(study.trials(), call.retry)
        except ValueError as error:
            raise DefinitionError([f"--retry-failed {call.retry}: {error}"]) from None
        again = study.retry(failed)
        pairs = [f"trial {old} as {new}" for old, new in zip(failed, again, strict=True)]
        forgotten = 0
        if call.retry in ("", ALL):
            forgotten = forget_failed(run.retrained, diverged=call.retry == ALL)
        pairs += [counted(forgotten, "retraining")] * (forgotten > 0)
        lines.append(f"tried again: {', '.join(pairs) or 'nothing, no such trial is left'}")
    if study.ending.probing:
        lines.append(
            "too many trials failed before; one trial is tried first, as the cause may be gone"
        )
    return lines


def retraining_of(
    experiment: Experiment, run: Run, concurrency: Callable[[], int]
) -> Callable[[Sequence[TrialRecord], Retrain], Retraining]:
    """A function that makes a run's retraining of the best of the given trials.

    Args:
        experiment: the run's experiment.
        run: the run.
        concurrency: returns the number of jobs at once.
    """

    def make(trials: Sequence[TrialRecord], settings: Retrain) -> Retraining:
        """The retraining of the best of these trials, with the run's data and store."""
        return Retraining(
            trials,
            settings,
            experiment.protocol,
            experiment.also_fine_tune_on,
            run.retrained,
            lambda result: weights_kept(run.store, result, experiment.protocol),
            experiment.objectives[1:],
            concurrency,
        )

    return make
