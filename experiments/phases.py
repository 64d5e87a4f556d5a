"""The search and the retraining as one `JobSource`, so that workers stay warm in between.

`until_converged` needs the noise between seeds during the search, so the best of the first trials
is retrained early. These trainings are recorded by their content, so the retraining at the end
finds them and does not repeat them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shiftsearch.experiments.outcome.outlook import noise_between_seeds
from shiftsearch.experiments.outcome.retrain import Retraining
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import Job, Phase
from shiftsearch.search.executing.places import Place
from shiftsearch.search.judging.racing import Retrain
from shiftsearch.search.study.records import TrialRecord
from shiftsearch.search.study.study import Study

NOISE_AFTER = 12
"""Number of trials after which the reference and the best one are retrained for the noise."""


class Phases:
    """The search and the retraining as one source of jobs.

    Args:
        study: the run's study.
        retraining: makes a retraining of the best of the given trials.
        settings: settings of the retraining at the end.
        until_converged: whether the study needs the noise.

    Attributes:
        stopped: why the search stopped before all trials were done; empty if it did not.
        on_phase: called when retraining begins, with the phase's name, the number of trainings,
            and the number of those that are done.
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
        """Whether the search phase is still on."""
        return self._retraining is None

    def retrain(self) -> Retraining:
        """The second phase; may only be called when the first is finished."""
        if self._retraining is None:
            # Read now, because later a budget of time would look spent.
            self.stopped = self.study.stop_reason
            self._retraining = self._make(self.study.trials(), self._settings)
            if self.on_phase is not None:
                self.on_phase("retrain", self._retraining.total, self._retraining.done)
        return self._retraining

    def ask(self) -> Job | None:
        """A training for the noise, the next trial of the search, or, after it, a retraining."""
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
        """The trainings for the noise; None before they are due and after the noise is known."""
        if not self._wants_noise:
            return None
        if self._repeats is None:
            begun = [t for t in self.study.trials() if t.state != "refused"]
            first = begun[:NOISE_AFTER]
            ended = all(t.has_ended for t in first)
            # If no more trials are asked for, the noise is not needed.
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

    def report(self, job: Job, epochs: int, value: float) -> bool:
        """Ask the job's phase whether to stop it."""
        return self._of(job).report(job, epochs, value)

    def placed(self, job: Job, place: Place) -> None:
        """Tell the job's phase where it runs."""
        self._of(job).placed(job, place)

    def share(self, job: Job) -> None:
        """Tell the job's phase that its baseline is trained."""
        self._of(job).share(job)

    def finish(self, job: Job, result: ProtocolResult) -> None:
        """Give the result to the job's phase."""
        self._of(job).finish(job, result)

    def fail(self, job: Job, reason: str) -> None:
        """Tell the job's phase why the job failed."""
        self._of(job).fail(job, reason)

    def give_back(self, job: Job, reason: str) -> bool:
        """Give the job back to its phase."""
        return self._of(job).give_back(job, reason)

    def _of(self, job: Job) -> Study | Retraining:
        if job.phase == "search":
            return self.study
        if self._retraining is None and self._repeats is not None:
            return self._repeats
        return self.retrain()
