"""All that a run has trained, the best first: what a model can be chosen from or made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shiftsearch.experiments.export_settings import MAX_MODELS
from shiftsearch.experiments.outcome.kept import weights_kept
from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.model.combining import Score
from shiftsearch.model.hyperparameters import Hyperparameters, Value
from shiftsearch.model.objective import ACCURACY, Objective
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.store import Store
from shiftsearch.search.study.records import TrialRecord


@dataclass(frozen=True, eq=False)
class Trained:
    """One whole training of the protocol, whose weights are in the store.

    Attributes:
        number: number of its trial.
        replicate: 0 in the search; 1, 2, ... in retraining.
        configuration: full and canonical.
        result: its result.
        objective: what it is ranked by.
    """

    number: int
    replicate: int
    configuration: Mapping[str, Value]
    result: ProtocolResult
    objective: Objective = ACCURACY

    @property
    def key(self) -> str:
        """The result key of its fine-tune."""
        return self.result.fine_tune.key

    @property
    def family(self) -> str:
        """The result key of its baseline; fine-tunes of one baseline have it in common."""
        return self.result.baseline.key

    @property
    def score(self) -> Score:
        """Its score on TEST2's selection part after fine-tuning."""
        test2 = self.result.fine_tune.test2
        return self.objective.of_split(test2), -test2.loss

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The configuration, as an object."""
        return Hyperparameters.from_flat(self.configuration)


def trained_models(
    trials: Sequence[TrialRecord],
    candidates: Sequence[Candidate],
    store: Store,
    limit: int = MAX_MODELS,
) -> list[Trained]:
    """The best trainings of a run: by the objective on the selection part, then by the loss.

    Trainings that break a constraint, that are of a second reading of the protocol, or whose
    weights the store no longer holds, are left out.

    Args:
        trials: the study's.
        candidates: the retrained configurations.
        store: the run's.
        limit: the largest number.
    """
    unable = {t.number for t in trials if t.infeasible}
    found = [
        Trained(t.number, 0, t.configuration, t.result, t.objective)
        for t in trials
        if t.result is not None
    ]
    found += [
        Trained(c.number, replicate, c.configuration, result, c.objective)
        for c in candidates
        if c.competes
        for replicate, result in sorted(c.results.items())
    ]
    # Trials with equal fine-tunes share one stage.
    distinct = {t.key: t for t in reversed(found) if t.number not in unable}
    ranked = sorted(
        distinct.values(), key=lambda t: (*(-s for s in t.score), t.number, t.replicate)
    )
    best: list[Trained] = []
    for one in ranked:
        if len(best) < limit and weights_kept(store, one.result):
            best.append(one)
    return best
