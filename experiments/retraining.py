"""The command `retrain`: any complete trial of a run again, with new seeds or with its own."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from statistics import stdev

from rich.console import Console

from shiftsearch.data.cache import open_pack
from shiftsearch.data.dataset import DataError, Dataset
from shiftsearch.experiments.definition import DefinitionError, Experiment, load
from shiftsearch.experiments.exits import DONE, INTERRUPTED, TOO_MANY_FAILURES, Interrupted
from shiftsearch.experiments.exporting import WrongOption, complete_trial
from shiftsearch.experiments.live.status import trials_of
from shiftsearch.experiments.outcome.honest import honest_lines, judged
from shiftsearch.experiments.outcome.kept import weights_kept
from shiftsearch.experiments.outcome.looks import note_looks
from shiftsearch.experiments.outcome.repeats import Repeats
from shiftsearch.experiments.outcome.results import STAGES, parts_of, score
from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.experiments.outcome.statistics import mean_interval
from shiftsearch.experiments.outcome.trainings import Trainings, fine_tuned_on
from shiftsearch.experiments.own_network import prepare_own
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.soundness import damaged
from shiftsearch.experiments.storage.holding import held
from shiftsearch.experiments.wording import counted, interval, one_line, percent
from shiftsearch.model.device import choose_device
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.model.own_network import OwnNetworkError
from shiftsearch.model.prepared import division_of
from shiftsearch.model.report import stored_digest
from shiftsearch.model.result import STAGES as TRAINED
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.store import Store, open_store
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.executing.resources import ResourceError
from shiftsearch.search.study.journal import RunLocked
from shiftsearch.search.study.records import TrialRecord, objective_of, stored_identity

MOST = 1000
"""Largest number of seeds."""

INPUT_ERRORS = (
    NotARun,
    DataError,
    DefinitionError,
    OwnNetworkError,
    ResourceError,
    RunLocked,
    WrongOption,
)
"""Errors in the user's input; each has `problems` or a message of one line."""


def retrain(options: Namespace, console: Console) -> int:
    """`shiftsearch retrain`.

    The replicates are kept in `retrain.json`. They do not change which configuration wins.
    """
    run = Run(options.run)
    _refuse_options(options)
    complete_trial(trials_of(run), options.trial)
    with held(run, "`shiftsearch retrain`"):
        trials = trials_of(run)  # of the newest state, if the run lies under a URL
        trial = complete_trial(trials, options.trial)
        for line in damaged(run).values():
            raise NotARun(line)
        return _Again(run, trials, trial, options, console)()


def _refuse_options(options: Namespace) -> None:
    if options.seeds is None and not options.own_seed:
        raise WrongOption("retrain: neither --seeds N nor --own-seed is given")
    if options.seeds is not None and not 1 <= options.seeds <= MOST:
        raise WrongOption(f"--seeds {options.seeds}: must be from 1 to {MOST}")
    if options.held_out and options.seeds is None:
        raise WrongOption("--held-out: scores new replicates, but --seeds N is not given")


@dataclass(frozen=True)
class _Again:
    """One call of `retrain` on a locked run."""

    run: Run
    trials: list[TrialRecord]
    trial: TrialRecord
    options: Namespace
    console: Console

    def __call__(self) -> int:
        run, experiment = self.run, load(str(self.run.definition))
        assert self.trial.result is not None
        stages = (self.trial.result.stage(stage) for stage in TRAINED)
        known = all(stored_digest(run.store, stage) is not None for stage in stages)
        if self.options.own_seed and not known:
            raise WrongOption(
                f"--own-seed: the weights of trial {self.trial.number} are not in "
                f"{run.store.address}, so there is nothing to compare with"
            )
        dataset = open_pack(run.pack, stored_identity(run.journal)["data"])
        if self.options.held_out and not len(division_of(dataset, experiment.protocol).held_out):
            raise WrongOption("--held-out: nothing is held out in this run")
        prepare_own(experiment, dataset)
        run.tidy()
        scratch = run.ray / "own-seed"
        trainings = Trainings(
            run.retrained,
            experiment.protocol,
            lambda result: weights_kept(run.store, result, experiment.protocol),
        )
        new = Repeats(trainings, self._jobs(1, self.options.seeds or 0), asked=True)
        kept = Trainings(scratch / "retrain.json", experiment.protocol, lambda _: True)
        own = Repeats(kept, self._jobs(0, 0) if self.options.own_seed else [])
        store = str(scratch / "store")
        try:
            self._train(experiment, dataset, [(new, ""), (own, store)])
            if not (new.finished and own.finished):
                self.console.print("interrupted; the same command goes on")
                return INTERRUPTED
            if new.lost or own.lost:
                raise Interrupted("replicates failed because their workers were lost")
            failed = self._say_new(experiment, dataset, trainings)
            if self.options.own_seed:
                failed |= self._say_own(kept, open_store(scratch / "store"))
        finally:
            run.tidy()
        return TOO_MANY_FAILURES if failed else DONE

    def _jobs(self, first: int, last: int) -> list[Job]:
        number, configuration = self.trial.number, self.trial.configuration
        return [Job("retrain", number, r, configuration) for r in range(first, last + 1)]

    def _train(
        self, experiment: Experiment, dataset: Dataset, wanted: list[tuple[Repeats, str]]
    ) -> None:
        wanted = [(source, store) for source, store in wanted if not source.finished]
        if wanted:
            from shiftsearch.experiments.training_again import train  # imports Ray

            train(
                *(experiment, self.run, dataset, self.trials, wanted),
                *(self.console, self.options.address),
            )

    def _say_new(self, experiment: Experiment, dataset: Dataset, trainings: Trainings) -> bool:
        """Print mean, spread and interval of the new replicates; returns whether all failed."""
        jobs = self._jobs(1, self.options.seeds or 0)
        if not jobs:
            return False
        ended = {job.replicate: trainings.of(job) for job in jobs}
        results = {r: t.result for r, t in ended.items() if t is not None and t.result is not None}
        failures = {r: t.reason for r, t in ended.items() if t is not None and t.result is None}
        candidate = Candidate(
            self.trial.number,
            self.trial.configuration,
            self.trial.value,
            fine_tuned_on(self.trial.configuration, experiment.protocol),
            results,
            failures,
            objective=objective_of(self.trials),
        )
        for replicate, reason in failures.items():
            self._say(f"replicate {replicate} failed: {one_line(reason)}")
        if not results:
            return True
        self._say(f"trial {self.trial.number}, {_spread(candidate, experiment.protocol)}")
        if self.options.held_out:
            self._say_held_out(experiment, dataset, candidate)
        return False

    def _say_held_out(
        self, experiment: Experiment, dataset: Dataset, candidate: Candidate
    ) -> None:
        title, device = f"trial {candidate.number}", choose_device()
        device.apply()
        looks = [
            {"configuration": title, "replicate": r, "stage": stage, "purpose": "retrain"}
            for r in sorted(candidate.results)
            for stage in STAGES
        ]
        note_looks(self.run.looks, looks)
        parts = parts_of(dataset, experiment.protocol, device)
        scored = score(title, candidate, parts, self.run.store, dataset, device)
        selection, held_out = (scored.mean_correctness("after", i) for i in (1, 2))
        label = parts[1].label("after")
        row = judged(title, len(candidate.results), selection, held_out, label)
        for line in honest_lines({"numbers": [row.to_json()]}):
            self._say(line)
        self._say(f"these were {len(looks)} more looks at the held-out part of TEST2")

    def _say_own(self, kept: Trainings, store: Store) -> bool:
        """Print whether the search's own training is repeated exactly; returns if it failed."""
        (job,) = self._jobs(0, 0)
        training = kept.of(job)
        assert training is not None
        assert self.trial.result is not None
        again, before = training.result, self.trial.result
        if again is None:
            self._say(f"with its own seed it failed: {one_line(training.reason)}")
            return True
        equal = equal_weights(self.run.store, before, store, again)
        said = "are equal, bit for bit, to" if equal else "differ from"
        self._say(f"with its own seed: the weights of both stages {said} those in the run's store")
        if not equal:
            self._say(f"  then: {_circumstances(before)}; now: {_circumstances(again)}")
        return False

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, highlight=False)


def equal_weights(
    store: Store, result: ProtocolResult, other_store: Store, other: ProtocolResult
) -> bool:
    """Whether both stages of two results have the same weights, bit for bit.

    Of weights that were removed from a store, their digest is compared.

    Raises:
        AssertionError: a store holds neither.
    """
    for stage in TRAINED:
        first = stored_digest(store, result.stage(stage))
        second = stored_digest(other_store, other.stage(stage))
        assert first is not None
        assert second is not None
        if first != second:
            return False
    return True


def _spread(candidate: Candidate, protocol: Protocol) -> str:
    """Mean, standard deviation and interval over the replicates, in words."""
    values, score = candidate.values, candidate.objective
    n = next(iter(candidate.results.values())).fine_tune.test2.n
    mean = sum(values) / len(values)
    label = "selected on" if protocol.folds == 1 else "out of fold"
    text = (
        f"{counted(len(values), 'new replicate')}: {score.title} on TEST2's selection part "
        f"(n = {n}, {label}) {percent(mean)}"
    )
    if len(values) > 1:
        _, low, high = mean_interval(values)
        text += (
            f", standard deviation {100 * stdev(values):.2f} points, 95 % interval of the mean "
            f"over seeds {interval((low, high))}"
        )
    search = "" if candidate.search_value is None else percent(candidate.search_value)
    return f"{text}; in the search it was {search}"


def _circumstances(result: ProtocolResult) -> str:
    return ", ".join(f"{k} {v}" for k, v in result.fine_tune.environment.items())
