"""The search, then retraining: one `JobSource`, so that workers stay warm in between.

With `until_converged` the noise between seeds has to be known while the search goes on, so the
best of the first trials is retrained early. These trainings are recorded by their content, so the
retraining at the end finds them and does not repeat them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shiftsearch.experiments.definition import Retrain
from shiftsearch.experiments.outcome.outlook import noise_between_seeds
from shiftsearch.experiments.outcome.retrain import Retraining
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import Job, Phase
from shiftsearch.search.study.records import TrialRecord
from shiftsearch.search.study.study import Study

NOISE_AFTER = 12
"""Trials after which the reference and the best of them are retrained for the noise."""


class Phases:
    """The search and the retraining as one source of jobs.

    Args:
        study: of the run.
        retraining: makes a retraining of the top of the given trials.
        settings: of the retraining at the end.
        until_converged: whether the study needs to know the noise.

    Attributes:
        stopped: why the study asked for no more before the wanted number; empty if it did not.
        on_phase: called when retraining begins, with its name, the trainings wanted, and how many
            of them are done.
    """

    def __init__(
        self,
        study: Study,
        retraining: Callable[[Sequence[TrialRecord], Retrain], Retraining],
        settings: Retrain,
        *,
        until_converged: bool = False,
    ) -> None:
        self.study, self._make, self._settings = study, retraining, settings
        self._wants_noise = until_converged
        self._repeats: Retraining | None = None
        self._retraining: Retraining | None = None
        self.stopped = ""
        self.on_phase: Callable[[Phase, int, int], None] | None = None

    @property
    def finished(self) -> bool:
        """Whether both phases are finished, or the search gave up."""
        if self._under_way() is not None:
            return False
        if not self.study.finished or self.study.gave_up:
            return self.study.finished
        return self.retrain().finished

    @property
    def searching(self) -> bool:
        """Whether trials may still be asked for."""
        return self._retraining is None

    def retrain(self) -> Retraining:
        """The second phase; only once the first is finished."""
        if self._retraining is None:
            # Now, for the clock goes on: later, a budget of time looks spent in any case.
            self.stopped = self.study.stop_reason
            self._retraining = self._make(self.study.trials(), self._settings)
            if self.on_phase is not None:
                self.on_phase("retrain", self._retraining.total, self._retraining.done)
        return self._retraining

    def ask(self) -> Job | None:
        """A repeat for the noise, the search's next trial, or after the search a retraining."""
        repeats = self._under_way()
        job = None if repeats is None else repeats.ask()
        if job is None:
            job = self.study.ask()
        if job is not None or repeats is not None:
            return job
        if not self.study.finished or self.study.gave_up:
            return None
        return self.retrain().ask()

    def _under_way(self) -> Retraining | None:
        """The repeats for the noise; None before they are due, and after the noise is known."""
        if not self._wants_noise:
            return None
        if self._repeats is None:
            first = self.study.trials(NOISE_AFTER)
            ended = all(t.state in ("complete", "pruned", "fail") for t in first)
            # Where no more is asked for, no noise is needed to say when to stop.
            over = self.study.missing == 0 or self.study.stop_reason
            if len(first) < NOISE_AFTER or not ended or over:
                return None
            once = Retrain(top_k=1, replicates=max(2, self._settings.replicates))
            self._repeats = self._make(first, once)
        if not self._repeats.finished:
            return self._repeats
        noise = noise_between_seeds(self._repeats.candidates())
        self.study.ending.noise = None if noise is None else noise.sd
        self._wants_noise = False
        return None

    def reach(self, job: Job, epochs: int, value: float) -> bool:
        """Ask the job's own phase whether to stop it."""
        return self._of(job).reach(job, epochs, value)

    def share(self, job: Job) -> None:
        """Tell the job's own phase that its baseline is trained."""
        self._of(job).share(job)

    def finish(self, job: Job, result: ProtocolResult) -> None:
        """Give the result to the job's own phase."""
        self._of(job).finish(job, result)

    def fail(self, job: Job, reason: str) -> None:
        """Tell the job's own phase why it cannot be done."""
        self._of(job).fail(job, reason)

    def give_back(self, job: Job, reason: str) -> None:
        """Give the job back to its own phase."""
        self._of(job).give_back(job, reason)

    def _of(self, job: Job) -> Study | Retraining:
        if job.phase == "search":
            return self.study
        if self._retraining is None and self._repeats is not None:
            return self._repeats
        return self.retrain()
