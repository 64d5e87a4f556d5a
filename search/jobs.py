"""What workers do, and who hands it out: the seam between the study and Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from typing import Protocol as Interface

from model.hyperparameters import Value

Phase = Literal["search", "retrain"]


@dataclass(frozen=True)
class Job:
    """One configuration and replicate to be put through the protocol.

    Attributes:
        phase: "search" (a trial of the study) or "retrain" (beside the study).
        number: the trial's number, in either phase.
        replicate: 0 in the search; 1, 2, ... in retraining.
        configuration: full and canonical.
        fine_tune_on: what the fine-tune trains on, see `model.hyperparameters.Protocol`.
        rungs: baseline epochs after which a whole fine-tune is made and reported.
        role: of the trial: "reference", "point" or "sampled".
        branch_of: the trial whose baseline it takes up; None when it trains its own.
    """

    phase: Phase
    number: int
    replicate: int
    configuration: Mapping[str, Value]
    fine_tune_on: Literal["TEST", "TRAIN+TEST"] = "TEST"
    rungs: Sequence[int] = ()
    role: str = "sampled"
    branch_of: int | None = None

    @property
    def name(self) -> str:
        """Short and unique within a run; names its TensorBoard folder."""
        if self.phase == "search":
            return f"trial-{self.number:04d}"
        reading = "" if self.fine_tune_on == "TEST" else "-combined"
        return f"retrain-{self.number:04d}{reading}-replicate-{self.replicate}"


class JobSource(Interface):
    """Hands out jobs and takes in what became of them. One thread, the driver's.

    Contract: `ask` returns None only while some job it handed out is still open, or when
    `finished`; every job handed out is closed by exactly one of `finish`, `fail`, `give_back`,
    or a `reach` that returns True.
    """

    @property
    def finished(self) -> bool:
        """Whether nothing is open and nothing will be asked for."""

    def ask(self) -> Job | None:
        """The next job, or None when there is none at present."""

    def reach(self, job: Job, epochs: int, value: float) -> bool:
        """A whole fine-tune from a rung came to `value`; True closes the job, which ends."""

    def share(self, job: Job) -> None:
        """The job's baseline is trained to the end and may be taken up by others."""

    def finish(self, job: Job, result: Mapping[str, Any]) -> None:
        """The protocol ended with `result` (`model.protocol.ProtocolResult.to_json`)."""

    def fail(self, job: Job, reason: str) -> None:
        """The job cannot be done, for a reason of its own."""

    def give_back(self, job: Job, reason: str) -> None:
        """The worker was lost; the job itself may be fine and is to be handed out again."""


class Listener(Interface):
    """Told what happens, after the source was. Must not raise."""

    def started(self, job: Job) -> None:
        """A worker was asked to do the job."""

    def placed(self, job: Job, node: str, device: str) -> None:
        """The worker took it up, on the host `node` and there on `device`, in words."""

    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        """An epoch ended, or a stored one was found; rows of a stage come in order."""

    def ended(self, job: Job, state: str, detail: str, result: Mapping[str, Any] | None) -> None:
        """The job is closed: `state` is complete, pruned, failed or lost; `detail` says why."""
