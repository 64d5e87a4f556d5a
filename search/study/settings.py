"""The settings of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.objective import ACCURACY, Objective
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.samplers import START_UP
from shiftsearch.search.study.budget import Budget, FailurePolicy


@dataclass(frozen=True)
class Settings:
    """The settings of a study.

    Attributes:
        name: the study's name in the journal.
        sampler: a name that `search.proposing.samplers.StageSampler` knows.
        seed: the study's seed; the seeds of all trials and of the sampler derive from it.
        budget: when to stop asking.
        points: known-good configurations, tried after the reference.
        failures: when to give up.
        policy: which baselines are fine-tuned again, and which trials are stopped.
        start_up: number of trials that must end before the sampler's model is used.
        objective: what trials are ranked by.
    """

    name: str
    sampler: str = "tpe"
    seed: int = 0
    budget: Budget = field(default_factory=Budget)
    points: tuple[Mapping[str, Value], ...] = ()
    failures: FailurePolicy = field(default_factory=FailurePolicy)
    policy: Policy = field(default_factory=Policy)
    start_up: int = START_UP
    objective: Objective = ACCURACY
