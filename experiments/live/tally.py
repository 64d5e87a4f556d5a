"""The running jobs of a board, and counts of ended ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shiftsearch.search.executing.jobs import End, Job
from shiftsearch.search.executing.places import Place


@dataclass
class Counts:
    """Numbers of jobs in a phase.

    `done` are complete or pruned, `lost` were handed out again, `refused` broke a constraint and
    were never trained.
    """

    wanted: int
    done: int = 0
    pruned: int = 0
    failed: int = 0
    lost: int = 0
    refused: int = 0

    def add(self, state: End) -> None:
        """Count a job that ended."""
        self.done += state in ("complete", "pruned")
        self.pruned += state == "pruned"
        self.failed += state == "failed"
        self.lost += state == "lost"


@dataclass
class RunningJob:
    """A running job.

    Attributes:
        since: start by the monotonic clock, in seconds.
        at: start, in UTC.
        accuracy: validation accuracy of the last epoch; None before the first.
        place: where it runs; None until a worker has begun it.
        placed: when that was, by the monotonic clock.
    """

    job: Job
    since: float
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    stage: str = ""
    epoch: int = 0
    accuracy: float | None = None
    place: Place | None = None
    placed: float = 0.0

    def to_json(self, now: float, max_epochs: Mapping[str, int]) -> dict[str, Any]:
        """The job in the form of a snapshot.

        Args:
            now: time by the monotonic clock, in seconds.
            max_epochs: largest number of epochs by stage.
        """
        job, stage = self.job, self.stage
        place = self.place or Place("", "", "")
        return {
            "name": job.name,
            "phase": job.phase,
            "trial": job.number,
            "replicate": job.replicate,
            "role": job.role,
            "branch_of": job.branch_of,
            "state": "waiting" if self.place is None else "running",
            "stage": stage,
            "epoch": self.epoch,
            # Any other stage is the fine-tune at a rung.
            "max_epochs": max_epochs.get(stage, max_epochs.get("fine_tune")) if stage else None,
            "validation_accuracy": self.accuracy,
            "node": place.host,
            "node_id": place.node_id,
            "device": place.device,
            "since": self.at.isoformat(timespec="seconds"),
            "seconds": round(now - self.since, 1),
        }
