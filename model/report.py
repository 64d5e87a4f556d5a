"""A trained stage with its evaluations, and the summary that is kept as its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shiftsearch.model.evaluation import Evaluation
from shiftsearch.model.objective import BALANCED_ACCURACY, F1_MACRO
from shiftsearch.model.result import Matrix, ProtocolResult, SplitResult, StageSummary
from shiftsearch.model.stage import StageResult
from shiftsearch.model.store import Store


@dataclass(frozen=True)
class StageReport:
    """A finished stage with its evaluations.

    Attributes:
        result: the trained stage.
        test, test2: evaluations on TEST and on the selection part of TEST2.
        entry: name of the store's entry with both evaluations.
        folds: of a cross-fitted fine-tune, the fine-tune of each fold; see `model.folds`.
    """

    result: StageResult
    test: Evaluation
    test2: Evaluation
    entry: str
    folds: tuple[StageResult, ...] = ()

    @property
    def summary(self) -> StageSummary:
        """The report without weights, history and values for each class."""
        result = self.result
        seconds = {trained.key: trained.seconds for trained in (result, *self.folds)}
        return StageSummary(
            result.key,
            result.epochs,
            result.best_epoch,
            sum(seconds.values()),
            result.environment,
            _summary(self.test),
            _summary(self.test2),
            self.entry,
        )


def _summary(evaluation: Evaluation) -> SplitResult:
    return SplitResult(
        evaluation.n,
        evaluation.accuracy,
        evaluation.loss,
        balanced_accuracy=BALANCED_ACCURACY.of_split(evaluation),
        f1_macro=F1_MACRO.of_split(evaluation),
    )


@dataclass(frozen=True)
class ProtocolReport:
    """Both stages of one configuration and replicate, with weights and history."""

    baseline: StageReport
    fine_tune: StageReport

    @property
    def result(self) -> ProtocolResult:
        """The result that is kept outside the store."""
        return ProtocolResult(self.baseline.summary, self.fine_tune.summary)


def stored_confusions(store: Store, stage: StageSummary) -> Mapping[str, Matrix] | None:
    """The confusion matrices of a finished stage on "test" and "test2".

    Args:
        store: the run's store.
        stage: a stage of a result; results of the first version hold the matrices themselves.

    Returns:
        The matrices by name; None if the store no longer has them.
    """
    if stage.report is None:
        kept = {"test": stage.test.confusion, "test2": stage.test2.confusion}
        return {k: matrix for k, matrix in kept.items() if matrix is not None} or None
    entry = store.load(stage.course, stage.report)
    if entry is None:
        return None
    return {name: entry.record[name]["confusion"] for name in ("test", "test2")}
