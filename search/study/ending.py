"""When a study asks for no more: all done, too many failures, a request, a budget, convergence."""

from __future__ import annotations

import time
from collections.abc import Callable

from shiftsearch.search.judging.gain import converged
from shiftsearch.search.study.budget import Budget, FailurePolicy, Trainings
from shiftsearch.search.study.records import State
from shiftsearch.search.study.stored_study import StoredStudy
from shiftsearch.search.study.tallies import Losses

DONE: tuple[State, ...] = ("complete", "pruned")


class Ending:
    """What is wanted and spent, asked anew whenever a trial could be asked for.

    Args:
        stored: the study.
        budget: as set when this call of the driver began.
        failures: when to give up.
        clock: in seconds.

    Attributes:
        noise: standard deviation of the objective between seeds; once it is set, the search ends
            when it has converged.
    """

    def __init__(
        self,
        stored: StoredStudy,
        budget: Budget,
        failures: FailurePolicy,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stored, self._budget, self._failures = stored, budget, failures
        self._clock, self._trainings = clock, Trainings()
        if budget.trainings is not None:
            stored.follow(self._trainings)
        self._losses = Losses()
        stored.follow(self._losses)
        self._losses_before = self._losses.count
        self._seconds_before = float(stored.attribute("seconds") or 0.0)
        self._begun: float | None = None
        self._judged: tuple[int, float, str] = 0, 0.0, ""
        self.noise: float | None = None

    @property
    def wanted(self) -> int:
        """Complete or pruned trials: as set, or more if the search was extended."""
        return max(self._budget.trials, self._stored.attribute("extended_to") or 0)

    @property
    def missing(self) -> int:
        """Complete or pruned trials still wanted."""
        return max(0, self.wanted - self._stored.count(*DONE))

    @property
    def gave_up(self) -> bool:
        """Whether the failure policy ends the search.

        Trials that failed for want of a worker count in the call that lost them, so that a machine
        that loses all workers ends it. They say nothing of the configurations, so once the machine
        is mended, the next call goes on.
        """
        return self._too_many(self._stored.count("failed") - self._losses_before)

    @property
    def gave_up_for_losses(self) -> bool:
        """Whether it would have gone on, had no worker been lost."""
        failed = self._stored.count("failed") - self._losses.count
        return self.gave_up and not self._too_many(failed)

    def _too_many(self, failed: int) -> bool:
        done, policy = self._stored.count(*DONE), self._failures
        return failed + done >= policy.min_ended and failed > policy.max_share * (failed + done)

    @property
    def reason(self) -> str:
        """Why no more is asked before the wanted number is reached; empty while it is not so."""
        if self.missing == 0:
            return ""
        if self.gave_up:
            return "too many trials failed"
        if self._stored.attribute("stopped"):
            return "stopped by request"
        if self._budget.spent(self._seconds, self._trainings):
            return "the budget is spent"
        return self._converged()

    @property
    def over(self) -> bool:
        """Whether no more is asked."""
        return self.missing == 0 or bool(self.reason)

    def begin(self) -> None:
        """Start the clock, unless it runs."""
        self._begun = self._clock() if self._begun is None else self._begun

    def note_seconds(self) -> None:
        """Write down the time spent so far."""
        self._stored.note("seconds", self._seconds)

    def extend(self, trials: int) -> None:
        """Want more complete or pruned trials, in this call and those that continue the run.

        Raises:
            ValueError: not more than are wanted already.
        """
        if trials <= self.wanted:
            raise ValueError(f"trials is {trials}, but must be above {self.wanted}, those wanted")
        self._stored.note("extended_to", trials)

    def stop(self) -> None:
        """Ask for no more, whatever is wanted, until `resume`; open trials go on."""
        self._stored.note("stopped", True)

    def resume(self) -> None:
        """Take `stop` back, once the run is concluded: the next call goes on."""
        if self._stored.attribute("stopped"):
            self._stored.note("stopped", False)

    @property
    def _seconds(self) -> float:
        """Of asking and training so far, by the driver's clock, over all calls."""
        now = 0.0 if self._begun is None else self._clock() - self._begun
        return self._seconds_before + now

    def _converged(self) -> str:
        """In words, when more trials gain less than the noise; asked once per ended trial."""
        if self.noise is None:
            return ""
        done = self._stored.count(*DONE)
        if self._judged[:2] != (done, self.noise):
            found, reason = converged(self._stored.optuna, self.noise), ""
            if found.stop:
                reason = (
                    f"more trials are expected to gain at most {found.improvement:.4f}, less than "
                    f"the noise between seeds, {found.error:.4f}"
                )
            self._judged = done, self.noise, reason
        return self._judged[2]
