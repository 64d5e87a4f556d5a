"""Retraining: the best configurations are trained again with new seeds, and one wins.

The best values of the search are partly luck, so they do not count. The winner is the
configuration with the best mean over replicates 1, 2, ..., none of which was selected. Which
configuration gets how many is decided in rounds, see `search.judging.racing`; the reference gets
at least `replicates`, because the winner is compared with it.

Results are kept in `RUN/retrain.json` and are used again when the run is continued or extended.
They are not part of the study. A training keeps the round that gave it out, so a continued run
makes the decisions of one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple

from shiftsearch.experiments.outcome.repeats import Repeats
from shiftsearch.experiments.outcome.training import Round, Training
from shiftsearch.experiments.outcome.trainings import (
    TRAIN_ON,
    Trainings,
    fine_tuned_on,
    training_key,
)
from shiftsearch.model.hyperparameters import Protocol, Value
from shiftsearch.model.objective import ACCURACY, Objective
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.store import content_key
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.executing.places import Place
from shiftsearch.search.judging.front import chosen
from shiftsearch.search.judging.racing import LEAST_ROUND, Retrain, next_replicates
from shiftsearch.search.study.records import TrialRecord, objective_of


@dataclass(frozen=True)
class Candidate:
    """A configuration that is retrained.

    Attributes:
        number: number of its trial in the study.
        configuration: full and canonical.
        search_value: the objective in the search (replicate 0); None if that trial failed.
        fine_tune_on: the splits that its fine-tune trains on: "TEST" or "TRAIN+TEST".
        results: results of the finished replicates, by replicate.
        failures: reasons of the failed replicates, by replicate.
        competes: whether it can win; a second reading of the protocol is only reported.
        objective: what the configurations are ranked by.
        places: where replicates were trained, by replicate, as far as it is known.
    """

    number: int
    configuration: Mapping[str, Value]
    search_value: float | None
    fine_tune_on: str
    results: Mapping[int, ProtocolResult]
    failures: Mapping[int, str]
    competes: bool = True
    objective: Objective = ACCURACY
    places: Mapping[int, Place] = field(default_factory=dict)

    @property
    def values(self) -> list[float]:
        """The objective of each finished replicate, by number."""
        return [self.objective.of(result) for _, result in sorted(self.results.items())]

    @property
    def mean(self) -> float | None:
        """Mean objective over replicates; None if one failed or none is finished."""
        if self.failures or not self.results:
            return None
        return fmean(self.values)


class _Wanted(NamedTuple):
    """A configuration to retrain; the fields are those of `Candidate`."""

    number: int
    configuration: Mapping[str, Value]
    search_value: float | None
    competes: bool = True


class Retraining(Repeats):
    """A `search.executing.jobs.JobSource` of the trainings to do, the reference's first.

    First each configuration gets two replicates (one if `replicates` is 1), and the reference
    `replicates`. What an earlier retraining stored is counted too. Then rounds follow, each
    decided when all trainings before it have ended. A configuration that
    failed gets no more, and one that is left alone only `replicates`.

    Args:
        trials: the study's trials, all ended.
        settings: number of configurations and replicates.
        protocol: the run's protocol.
        also: a second reading of the protocol for the reference configuration, or None.
        path: the file `retrain.json`.
        kept: returns whether the store still holds a result's weights; if not, the training is
            repeated.
        costs: costs that the search minimises; with any, trials that represent the Pareto front
            are retrained.
        concurrency: returns the number of jobs at once, which a round has, but at least two.

    Raises:
        experiments.run_folder.NotARun: the file is damaged.
    """

    def __init__(
        self,
        trials: Sequence[TrialRecord],
        settings: Retrain,
        protocol: Protocol,
        also: Literal["TRAIN+TEST"] | None,
        path: Path,
        kept: Callable[[ProtocolResult], bool],
        costs: Sequence[str] = (),
        concurrency: Callable[[], int] = lambda: LEAST_ROUND,
    ) -> None:
        self._settings, self._protocol, self._concurrency = settings, protocol, concurrency
        self._unable = {t.number for t in trials if t.infeasible}
        self._objective = objective_of(trials)
        top = chosen(trials, costs, settings.top_k)
        self._wanted = _distinct(_wanted(trials, top, also), protocol)
        self._rivals = sum(w.competes for w in self._wanted)
        self._budget = settings.trainings(self._rivals)
        keys = [training_key(w.configuration, 1, protocol) for w in self._wanted]
        self._race = content_key([keys, settings.replicates, self._budget])
        trainings = Trainings(path, protocol, kept)
        self._counts = [self._first(i, trainings) for i in range(len(self._wanted))]
        first = [self._job(i, r + 1) for i, n in enumerate(self._counts) for r in range(n)]
        super().__init__(trainings, first)
        self._recall()

    @property
    def total(self) -> int:
        """Number of all trainings, including those that are done and those not yet decided."""
        return super().total + (0 if self.finished else max(0, self._left))

    @property
    def finished(self) -> bool:
        """Whether every training has ended, and no more are needed."""
        return super().finished and not self._more()

    def ask(self) -> Job | None:
        """The next training, or None while the decision about further ones has to wait."""
        while super().finished and (more := self._more()):
            self._next_round(min(more, max(LEAST_ROUND, self._concurrency())))
        return super().ask()

    def candidates(self) -> list[Candidate]:
        """All retrained configurations with their results so far, the reference first."""
        return [
            Candidate(
                wanted.number,
                wanted.configuration,
                wanted.search_value,
                fine_tuned_on(wanted.configuration, self._protocol),
                {r: t.result for r, t in self._ended(i).items() if t.result is not None},
                {r: t.reason for r, t in self._ended(i).items() if t.result is None},
                wanted.competes,
                self._objective,
                {r: t.place for r, t in self._ended(i).items() if t.place is not None},
            )
            for i, wanted in enumerate(self._wanted)
        ]

    def winner(self) -> Candidate | None:
        """The configuration with the best mean over replicates; None if all failed.

        The reference can win, too, unless it breaks a constraint.
        """
        able = [c for c in self.candidates() if c.competes and c.mean is not None]
        able = [c for c in able if c.number not in self._unable]
        return max(able, key=lambda c: (c.mean or 0.0, -c.number), default=None)

    def fingerprint(self) -> str:
        """A digest of all trainings and their results, wherever they ran."""
        jobs = [self._job(i, r + 1) for i, n in enumerate(self._counts) for r in range(n)]
        found = [(self._trainings.key(job), self._trainings.of(job)) for job in jobs]
        return content_key([[key, t and replace(t, place=None).to_json()] for key, t in found])

    # ---- the race

    @property
    def _left(self) -> int:
        """Trainings that are not given out yet; negative if an earlier retraining had more."""
        counts = zip(self._wanted, self._counts, strict=True)
        return self._budget - sum(n for wanted, n in counts if wanted.competes)

    def _first(self, index: int, trainings: Trainings) -> int:
        """Number of replicates before the first decision, with those stored by other races."""
        wanted, settings = self._wanted[index], self._settings
        is_rival = index > 0 and wanted.competes
        count = settings.first(self._rivals) if is_rival else settings.replicates
        replicate = 0
        while wanted.competes and replicate < count + settings.replicates:  # some may be missing
            replicate += 1
            found = trainings.written.get(trainings.key(self._job(index, replicate)))
            if found is not None and self._is_other(found):
                count = max(count, replicate)
        return count

    def _is_other(self, training: Training) -> bool:
        """Whether another retraining, not this race or a person, gave the training out."""
        given = training.round
        return not training.asked and (given is None or given.race != self._race)

    @property
    def _able(self) -> list[int]:
        """The configurations that may get more replicates, by index."""
        return [
            i
            for i, wanted in enumerate(self._wanted)
            if wanted.competes
            and wanted.number not in self._unable
            and all(training.result is not None for training in self._ended(i).values())
        ]

    def _more(self) -> int:
        """Number of trainings that further rounds may give out, once all others have ended."""
        able = self._able
        if not able or self.lost:
            return 0
        alone = self._settings.replicates - self._counts[able[0]]
        return max(0, min(self._left, alone) if len(able) == 1 else self._left)

    def _next_round(self, size: int) -> None:
        """Decide which configurations get the next trainings."""
        able = self._able
        number = 1 if self._round is None else self._round.number + 1
        self._round = Round(self._race, number, size)
        ended = [self._ended(i).values() for i in able]
        values = [[self._objective.of(t.result) for t in own if t.result] for own in ended]
        jobs = []
        for pick in next_replicates(values, size):
            self._counts[able[pick]] += 1
            jobs.append(self._job(able[pick], self._counts[able[pick]]))
        self._give(jobs)

    def _recall(self) -> None:
        """Give out the rounds that the file knows already."""
        written = [t.round for t in self._trainings.written.values() if t.round is not None]
        sizes = {r.number: r.size for r in written if r.race == self._race}
        for number in sorted(sizes):
            if super().finished and self._more():
                self._next_round(sizes[number])

    def _ended(self, index: int) -> dict[int, Training]:
        """The ended trainings of a configuration, by replicate."""
        replicates = range(1, self._counts[index] + 1)
        found = {r: self._trainings.of(self._job(index, r)) for r in replicates}
        return {r: training for r, training in found.items() if training is not None}

    def _job(self, index: int, replicate: int) -> Job:
        wanted = self._wanted[index]
        return Job("retrain", wanted.number, replicate, wanted.configuration)


def _wanted(
    trials: Sequence[TrialRecord],
    top: Sequence[TrialRecord],
    also: Literal["TRAIN+TEST"] | None,
) -> list[_Wanted]:
    """The reference, the top, and the second reading of the protocol if there is one."""
    references = [t for t in trials if t.role == "reference"]  # several if it was tried again
    reference = max(references, key=lambda t: (t.state == "complete", -t.number))
    found = [_Wanted(t.number, dict(t.configuration), t.value) for t in (reference, *top)]
    if also is not None:
        other = {**reference.configuration, TRAIN_ON: also}
        found.append(_Wanted(reference.number, other, reference.value, competes=False))
    return found


def _distinct(found: Sequence[_Wanted], protocol: Protocol) -> list[_Wanted]:
    """The first of all that train the same."""
    by_key: dict[str, _Wanted] = {}
    for one in found:
        by_key.setdefault(training_key(one.configuration, 1, protocol), one)
    return list(by_key.values())
