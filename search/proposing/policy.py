"""When a study fine-tunes an existing baseline again, and when it stops a trial at a rung.

Both depend only on the study's trials, so a restarted driver makes the same decisions. The
defaults were chosen by replay on recorded trials, see `experiments/LOG.md`. Rungs are known only
here: a job holds the baseline epochs after which it reports, and a trial's record the values.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from shiftsearch.search.study.records import TrialRecord
from shiftsearch.search.study.tallies import Families, Intermediates

NOTHING_SHARED: Mapping[str, Any] = {"branches": 1, "rungs": ()}
"""Every trial trains its own baseline, and none is stopped."""


class Policy(BaseModel):
    """How a study spends its trainings; the key `policy` of an experiment file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    branches: Annotated[int, Field(ge=1, le=1000)] = 6
    """Most fine-tunes of one baseline, the first included; 1 gives every trial its own."""
    first_baselines: Annotated[int, Field(ge=1, le=1000)] = 4
    """Number of baselines that are begun before any is fine-tuned again."""
    rungs: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)] = ()
    """Rising baseline epochs, each followed by a whole fine-tune."""
    keep: Annotated[float, Field(gt=0, le=1)] = 1 / 3
    """Fraction of the trials at a rung that go on; these are the best."""
    min_population: Annotated[int, Field(ge=1)] = 4
    """Number of trials at a rung from which on trials are stopped there."""

    @field_validator("rungs")
    @classmethod
    def _rising(cls, rungs: tuple[int, ...]) -> tuple[int, ...]:
        if list(rungs) != sorted(set(rungs)):
            raise ValueError("must rise")
        return rungs

    @property
    def report_at(self) -> dict[str, int]:
        """Baseline epochs after which a trial reports, by the name of the fine-tune there."""
        return {f"rung_{epochs}": epochs for epochs in self.rungs}

    def problems(self, max_epochs: int) -> list[str]:
        """One line for each rung that is not below `max_epochs`."""
        return [
            f"policy.rungs: {epochs}, but must be below protocol.baseline.max_epochs, {max_epochs}"
            for epochs in self.rungs
            if epochs >= max_epochs
        ]

    def unrecorded(self, known: Collection[int]) -> list[str]:
        """One line for each rung that is not among the `known` baseline epochs."""
        return [
            f"the runs recorded no rung of {epochs} epochs, so it cannot be rehearsed"
            for epochs in self.rungs
            if epochs not in known
        ]

    def branch_of(self, families: Families) -> int | None:
        """The trial whose baseline the next trial fine-tunes, or None for a new baseline.

        The best baseline, by the mean of its complete trials, is fine-tuned until it has
        `branches` fine-tunes, failed ones included. Then new baselines are trained until one is
        better. No baseline is fine-tuned again before `first_baselines` were begun.
        """
        if self.branches < 2 or families.roots < self.first_baselines:
            return None
        best = families.best()
        return None if best is None or families.size(best) >= self.branches else best

    def may_branch_from(self, families: Families) -> list[int]:
        """The trials whose baselines a later trial may fine-tune, as far as one can foresee."""
        return [] if self.branches < 2 else list(families.unfilled(self.branches))

    def stops(self, trial: TrialRecord, epochs: int, values: Intermediates) -> bool:
        """Whether to stop the trial at the rung where it has just reported its value.

        Its value is compared with those of all trials at this rung that did not fail. The
        reference configuration and points are never stopped.
        """
        if trial.role != "sampled":
            return False
        population = values.count(epochs)
        if population < self.min_population:
            return False
        better = values.better(epochs, trial.intermediate[epochs])
        return better >= math.ceil(self.keep * population - 1e-9)  # the product rounds

    @staticmethod
    def reason(epochs: int, value: float) -> str:
        """Why a trial was stopped, for the study's journal and `trials.csv`."""
        return f"stopped at the rung of {epochs} epochs: {value:.4f}"
