"""The search, then retraining: one `JobSource`, so that workers stay warm in between.

With `until_converged` the noise between seeds has to be known while the search goes on: the best
of the first trials is then retrained early. Nothing is paid twice: what is retrained is recorded
under its content and found again at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.definition import Retrain
from experiments.retrain import Retraining
from search.jobs import Job, Phase
from search.outlook import seed_noise
from search.records import TrialRecord
from search.study import Study

NOISE_AFTER = 12
"""Trials after which the best of them is retrained for the noise between seeds."""


class Phases:
    """One source over both.

    Args:
        study: of the run.
        retraining: makes a retraining of the top of the given trials.
        settings: of the retraining at the end.
        until_converged: whether the study needs to know the noise.
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
        self.on_phase: Callable[[Phase, int, int], None] | None = None

    @property
    def finished(self) -> bool:
        """Whether both phases are, or the search gave up."""
        if self._repeats is not None and not self._repeats.finished:
            return False
        if not self.study.finished or self.study.gave_up:
            return self.study.finished
        return self.retrain().finished

    def retrain(self) -> Retraining:
        """The second phase; only once the first is finished."""
        if self._retraining is None:
            self._retraining = self._make(self.study.trials(), self._settings)
            if self.on_phase is not None:
                self.on_phase("retrain", self._retraining.total, self._retraining.done)
        return self._retraining

    def ask(self) -> Job | None:
        """A repeat for the noise, the search's next trial, or when it is over a retraining."""
        if self._wants_noise:
            job = self._ask_repeat()
            if job is not None:
                return job
        job = self.study.ask()
        if job is not None or not self.study.finished or self.study.gave_up:
            return job
        if self._repeats is not None and not self._repeats.finished:
            return None
        return self.retrain().ask()

    def _ask_repeat(self) -> Job | None:
        if self._repeats is None:
            first = [t for t in self.study.trials() if t.number < NOISE_AFTER]
            ended = all(t.state in ("complete", "pruned", "fail") for t in first)
            if len(first) < NOISE_AFTER or not ended:
                return None
            once = Retrain(top_k=1, replicates=max(2, self._settings.replicates))
            self._repeats = self._make(first, once)
        if self._repeats.finished:
            # Of the best alone: the reference's noise is that of another accuracy.
            best = self._repeats.candidates()[-1]
            noise = seed_noise([[r["test2_accuracy"] for r in best.results.values()]])
            self.study.noise = None if noise is None else noise.sd
            self._wants_noise = False
            return None
        return self._repeats.ask()

    def reach(self, job: Job, epochs: int, value: float) -> bool:
        """To the phase that the job is of."""
        return self._of(job).reach(job, epochs, value)

    def share(self, job: Job) -> None:
        """To the phase that the job is of."""
        self._of(job).share(job)

    def finish(self, job: Job, result: Mapping[str, Any]) -> None:
        """To the phase that the job is of."""
        self._of(job).finish(job, result)

    def fail(self, job: Job, reason: str) -> None:
        """To the phase that the job is of."""
        self._of(job).fail(job, reason)

    def give_back(self, job: Job, reason: str) -> None:
        """To the phase that the job is of."""
        self._of(job).give_back(job, reason)

    def _of(self, job: Job) -> Study | Retraining:
        if job.phase == "search":
            return self.study
        if self._retraining is None and self._repeats is not None:
            return self._repeats
        return self.retrain()
