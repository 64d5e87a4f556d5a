"""When a study asks for no more trials.

All are done, too many failed, the user asked to stop, the budget is spent, or the search has
converged.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from shiftsearch.search.judging.gain import converged
from shiftsearch.search.study.budget import Trainings
from shiftsearch.search.study.goals import MOST_REFUSALS
from shiftsearch.search.study.records import State
from shiftsearch.search.study.settings import Settings
from shiftsearch.search.study.stored_study import StoredStudy
from shiftsearch.search.study.tallies import Failures

DONE: tuple[State, ...] = ("complete", "pruned")


class Ending:
    """Decides whether the study asks for another trial.

    Args:
        stored: the study.
        settings: the budget, when to give up, and the limits, as set when this call began.
        clock: returns the time in seconds.

    Attributes:
        noise: standard deviation of the objective between seeds; once it is set, the search ends
            when it has converged.
    """

    def __init__(
        self,
        stored: StoredStudy,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stored, self._limits = stored, settings.limits
        self._budget, self._failures = settings.budget, settings.failures
        self._clock, self._trainings = clock, Trainings()
        if settings.budget.trainings is not None:
            stored.follow(self._trainings)
        self._failed = Failures()
        stored.follow(self._failed)
        self.look_back()
        self._seconds_before = float(stored.attribute("seconds") or 0.0)
        self._begun: float | None = None
        self._judged: tuple[int, float, str] = 0, 0.0, ""
        self.noise: float | None = None

    def look_back(self) -> None:
        """Take the trials until now as those of earlier calls; called when a call begins."""
        self._lost_before, self._other_before = self._failed.lost, self._failed.other
        self._ended_before = self._stored.count("failed"), self._stored.count(*DONE)
        # Whether an earlier call gave up, for failures whose cause may be gone.
        gave_up = self._too_many(self._failed.count - self._lost_before)
        self._tries_again = gave_up and not self._too_many(self._failed.diverged)

    @property
    def wanted(self) -> int:
        """Number of complete or pruned trials to reach: as set, or more after an extension."""
        return max(self._budget.trials, self._stored.attribute("extended_to") or 0)

    @property
    def missing(self) -> int:
        """Number of complete or pruned trials still to reach."""
        return max(0, self.wanted - self._stored.count(*DONE))

    @property
    def gave_up(self) -> bool:
        """Whether the failure policy ends the search.

        Trials that failed because their workers were lost count only in the call that lost them.
        So a machine that loses all its workers ends the search, and the next call goes on after
        the machine is repaired. Trials that are tried again do not count. If an earlier call gave
        up, other failures than divergence count again unless the first trial of this call ends
        well.
        """
        counted = self._failed.count - self._lost_before - self._excused
        return not self.probing and self._too_many(counted)

    @property
    def probing(self) -> bool:
        """Whether one trial has to show first that the cause of earlier failures is gone."""
        ended = self._stored.count("failed"), self._stored.count(*DONE)
        return self._tries_again and ended == self._ended_before

    @property
    def _excused(self) -> int:
        """Number of earlier failures that do not count, because a trial ended well since then."""
        recovered = self._stored.count(*DONE) > self._ended_before[1]
        return self._other_before if self._tries_again and recovered else 0

    @property
    def gave_up_for_losses(self) -> bool:
        """Whether the search gave up only because workers were lost."""
        others = self._failed.count - self._failed.lost - self._excused
        return self.gave_up and not self._too_many(others)

    def _too_many(self, failed: int) -> bool:
        done, policy = self._stored.count(*DONE), self._failures
        return failed + done >= policy.min_ended and failed > policy.max_share * (failed + done)

    @property
    def reason(self) -> str:
        """Why the search stops before `wanted` is reached; empty if it does not."""
        if self.missing == 0:
            return ""
        if self.gave_up:
            return "too many trials failed"
        if self._stored.attribute("stopped"):
            return "stopped by request"
        if self._budget.spent(self._seconds, self._trainings):
            return "the budget is spent"
        return self._refusing() or self._converged()

    @property
    def over(self) -> bool:
        """Whether no more trials are asked for."""
        return self.missing == 0 or bool(self.reason)

    def refuse_beyond(self, asked: int) -> None:
        """Refuse a further trial beyond those that are asked for already.

        Raises:
            ValueError: it would never be asked for.
        """
        if self.over:
            raise ValueError(f"no more trials are asked for: {self.reason or 'all are done'}")
        if asked >= self.missing:
            raise ValueError(
                f"all {self.wanted} trials are asked for already; extend the search first"
            )

    @property
    def hopeless(self) -> bool:
        """Whether the search ends because of refusals, without a trial that may win."""
        able = any(t.state == "complete" and not t.infeasible for t in self._stored.records)
        return not able and bool(self._refusing())

    def _refusing(self) -> str:
        """The reason if the last `MOST_REFUSALS` configurations were all refused, else empty."""
        last = self._stored.records[-MOST_REFUSALS:]
        if len(last) < MOST_REFUSALS or any(t.state != "refused" for t in last):
            return ""
        why = self._limits.unreachable([t.costs for t in last])
        return f"the last {MOST_REFUSALS} configurations were refused; {why}"

    def begin(self) -> None:
        """Start the clock if it is not running."""
        self._begun = self._clock() if self._begun is None else self._begun

    def note_seconds(self) -> None:
        """Record the time spent so far in the study."""
        self._stored.note("seconds", self._seconds)

    def extend(self, trials: int) -> None:
        """Raise the number of trials to reach, for this call and all later ones on the run.

        Raises:
            ValueError: `trials` is not above `wanted`.
        """
        if trials <= self.wanted:
            raise ValueError(
                f"trials is {trials}, but must be above {self.wanted}, the present number"
            )
        self._stored.note("extended_to", trials)

    def stop(self) -> None:
        """Ask for no more trials until `resume`; open trials go on."""
        self._stored.note("stopped", True)

    def resume(self) -> None:
        """Undo `stop`, so that the next call goes on; called when the run is concluded."""
        if self._stored.attribute("stopped"):
            self._stored.note("stopped", False)

    @property
    def _seconds(self) -> float:
        """Time of asking and training so far, by the driver's clock, over all calls."""
        now = 0.0 if self._begun is None else self._clock() - self._begun
        return self._seconds_before + now

    def _converged(self) -> str:
        """The reason if more trials would gain less than the noise, else empty.

        Computed once per ended trial.
        """
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
