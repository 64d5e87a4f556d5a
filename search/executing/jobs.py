"""Jobs for the workers, and the interfaces of those that hand them out and listen to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from typing import Protocol as Interface

from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.places import Place

Phase = Literal["search", "retrain"]
End = Literal["complete", "pruned", "failed", "lost"]
"""How a job may end; a lost one is handed out again, or its trial fails."""


@dataclass(frozen=True)
class Job:
    """One training: a configuration and a replicate, put through the whole protocol.

    Attributes:
        phase: "search" (a trial of the study) or "retrain" (not part of the study).
        number: the number of the trial that has this configuration.
        replicate: 0 in the search; 1, 2, ... in retraining.
        configuration: full and canonical.
        report_at: rising baseline epochs after which a whole fine-tune is trained and the
            objective reported, by the name of that fine-tune's curves.
        role: the trial's role: "reference", "point" or "sampled".
        branch_of: the trial whose baseline it uses; None when it trains its own.
    """

    phase: Phase
    number: int
    replicate: int
    configuration: Mapping[str, Value]
    report_at: Mapping[str, int] = field(default_factory=dict)
    role: str = "sampled"
    branch_of: int | None = None

    @property
    def name(self) -> str:
        """Short and unique within a run; names its TensorBoard folder."""
        if self.phase == "search":
            return f"trial-{self.number:04d}"
        train_on = self.configuration.get("fine_tune.train_on", "TEST")
        reading = "" if train_on == "TEST" else "-combined"
        return f"retrain-{self.number:04d}{reading}-replicate-{self.replicate}"


class JobSource(Interface):
    """Hands out jobs and is told how they ended. Only the driver's one thread calls it.

    Contract: `ask` returns None only while a job that it handed out is still open, or when
    `finished`. A job is closed by exactly one call of `finish`, `fail` or `give_back`, or of
    `report` if that returns True. Jobs that are open when the driver ends are handed out again
    when it starts again.
    """

    @property
    def finished(self) -> bool:
        """Whether no job is open and no further one will be handed out."""

    def ask(self) -> Job | None:
        """The next job, or None if there is none now."""

    def report(self, job: Job, epochs: int, value: float) -> bool:
        """The fine-tune after `epochs` has objective `value`; True stops and closes the job."""

    def placed(self, job: Job, place: Place) -> None:
        """A worker began the job there; a lost job begins again elsewhere."""

    def share(self, job: Job) -> None:
        """The job's baseline is trained to the end, so other jobs may use it."""

    def finish(self, job: Job, result: ProtocolResult) -> None:
        """The protocol ended with `result`."""

    def fail(self, job: Job, reason: str) -> None:
        """The configuration cannot be trained, as `reason` says in one line."""

    def give_back(self, job: Job, reason: str) -> bool:
        """The worker was lost; the job itself may be fine, and is handed out again some times.

        Returns:
            Whether it will be; otherwise it has failed.
        """


class Listener(Interface):
    """Is told what happens, after the source; an error in a listener affects no job."""

    def started(self, job: Job) -> None:
        """A worker was asked to do the job."""

    def placed(self, job: Job, place: Place) -> None:
        """A worker began the job there."""

    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        """An epoch was trained or found in the store; the rows of a stage come in order."""

    def ended(self, job: Job, state: End, detail: str, result: ProtocolResult | None) -> None:
        """The job ended with `state`; `detail` says why."""
