"""The settings of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.objective import ACCURACY, Objective
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.samplers import START_UP, StageSampler
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.proposing.tried import Tried
from shiftsearch.search.study.budget import Budget, FailurePolicy
from shiftsearch.search.study.goals import Limits


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
        costs: costs of a trial's network that are minimised, besides the objective.
        limits: bounds on the costs.
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
    costs: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def stage_sampler(
        self, number: int, space: Space, given: Mapping[str, Value], tried: Tried
    ) -> StageSampler:
        """The sampler that answers question `number`; see `StageSampler`."""
        return StageSampler(
            self.sampler,
            self.seed,
            number,
            space.distributions,
            given,
            self.start_up,
            tried,
            space.drawn_conditions,
            self.costs,
        )
