"""A trained stage with its evaluations, and the summary that is kept as its result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, uint8

from shiftsearch.model.engine import EpochRow
from shiftsearch.model.evaluation import Evaluation
from shiftsearch.model.objective import BALANCED_ACCURACY, F1_MACRO
from shiftsearch.model.result import Matrix, ProtocolResult, SplitResult, StageSummary
from shiftsearch.model.stage import StageResult
from shiftsearch.model.store import Entry, Store


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


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """A digest of names, types, shapes and bits of tensors: 32 hex digits."""
    found = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(weights.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(uint8).numpy().data)
    return found.hexdigest()


def course_record(history: Sequence[EpochRow], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """What stays of a trained stage beside its scores when its weights are removed."""
    return {"history": list(history), "weights": digest_of(weights)}


def stored_history(store: Store, stage: StageSummary) -> Sequence[EpochRow] | None:
    """The rows of a finished stage's epochs; None if the store no longer has them."""
    found = _final_or_scores(store, stage)
    return None if found is None else found.record.get("history")


def stored_digest(store: Store, stage: StageSummary) -> str | None:
    """The digest of a finished stage's weights, also if they are removed; None if unknown."""
    found = _final_or_scores(store, stage)
    if found is not None and found.tensors:
        return digest_of(found.tensors)
    return None if found is None else found.record.get("weights")


def keep_history(store: Store, stage: StageSummary) -> bool:
    """Write a stage's history and digest beside its scores, unless they are there.

    Returns:
        Whether they are there; False if the stage has no scores there, or they are damaged.
    """
    scores = None if stage.report is None else store.load(stage.course, stage.report)
    if scores is None or stage.report is None:
        return False
    if "weights" not in scores.record:  # an earlier version wrote it
        final = store.load(stage.course, "final")
        if final is not None:
            more = course_record(final.record.get("history", ()), final.tensors)
            record = {**scores.record, **more}
            store.save(stage.course, stage.report, Entry(scores.tensors, record))
    return True


def _final_or_scores(store: Store, stage: StageSummary) -> Entry | None:
    final = store.load(stage.course, "final")
    if final is not None or stage.report is None:
        return final
    scores = store.load(stage.course, stage.report)
    return None if scores is None else Entry({}, scores.record)
