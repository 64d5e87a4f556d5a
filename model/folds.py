"""Cross-fitting: one fine-tune for each fold of TEST2's selection part, scored on that fold.

The images that choose a fine-tune's best epoch, its reductions of the learning rate and its end
are not those that score it. So a small selection part does not flatter a trial, and all of its
images count in the score. The folds share the baseline, the order of images and all other draws,
so their fine-tunes differ only by what the validation loss decides.

With `sample_weights: density_ratio`, the training images of every fold are weighted by all images
of the selection part, without their labels.

A schedule that does not follow the validation loss would need only one training, with one choice
of the epoch for each fold. This is not used: stages are stored and continued one by one.

Source: Stone 1974, doi 10.1111/j.2517-6161.1974.tb00994.x (cross-validatory choice).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shiftsearch.model.engine import TensorSplit
from shiftsearch.model.evaluation import Evaluation, evaluate, predict, summarise
from shiftsearch.model.report import StageReport, course_record
from shiftsearch.model.result import StageSummary
from shiftsearch.model.stage import StageResult
from shiftsearch.model.store import Entry, Store, content_key

if TYPE_CHECKING:
    from shiftsearch.model.protocol import ProtocolRun

_PROBABILITIES = "probabilities"


@dataclass(frozen=True)
class Fold:
    """A fold of TEST2's selection part.

    Attributes:
        positions: [n] int64, the fold's images by their position in the selection part.
        others: the images of all other folds; they validate the fold's fine-tune.
    """

    positions: NDArray[np.int64]
    others: TensorSplit


def fold_stage(name: str, number: int) -> str:
    """The name of a fold's fine-tune for views: "fold_1", or "rung_3_fold_1" at a rung."""
    return f"fold_{number}" if name == "fine_tune" else f"{name}_fold_{number}"


def cross_fitted(
    run: ProtocolRun, baseline: StageResult, name: str, *, with_model: bool
) -> StageReport:
    """Fine-tune once for each fold, and evaluate out of fold, or read the stored evaluation.

    Args:
        run: the configuration's run; its data has folds.
        baseline: the trained baseline.
        name: the stage's name for `on_epoch`.
        with_model: whether one more fine-tune is validated on the whole selection part. It is the
            report's `result`, which can be exported. Otherwise that is the fine-tune of the fold
            whose best epoch is the median; of an even number, the later one of the two.

    Returns:
        The report: `test2` is over all images of the selection part, each scored by the fine-tune
        of its fold; `test` is of `result`.
    """
    data = run.data
    tuned = [
        run.fine_tune(baseline, fold_stage(name, number), fold.others)
        for number, fold in enumerate(data.folds, start=1)
    ]
    by_epoch = sorted(tuned, key=lambda result: result.best_epoch)
    result = run.fine_tune(baseline, name) if with_model else by_epoch[len(tuned) // 2]
    digests = [data.test.digest, data.selection.digest]
    entry = "report-" + content_key([result.epochs, *digests, *(r.key for r in tuned)])
    stored = run.store.load(result.course, entry)
    if stored is None:
        test = evaluate(run.network(result), data.test.images, data.test.labels)
        probabilities = _out_of_fold(run, tuned)
        test2 = summarise(probabilities, data.selection.labels.cpu())
        record = {"test": test.to_json(), "test2": test2.to_json()}
        record |= course_record(result.history, result.weights)
        run.store.save(result.course, entry, Entry({_PROBABILITIES: probabilities}, record))
    else:
        test, test2 = (Evaluation.from_json(stored.record[k]) for k in ("test", "test2"))
    return StageReport(result, test, test2, entry, tuple(tuned))


def _out_of_fold(run: ProtocolRun, tuned: Sequence[StageResult]) -> Tensor:
    """[N, classes] float32: each image of the selection part by its fold's fine-tune."""
    selection = run.data.selection
    found = torch.empty(len(selection.labels), run.data.classes)
    for fold, result in zip(run.data.folds, tuned, strict=True):
        positions = torch.from_numpy(fold.positions)
        images = selection.images[positions.to(selection.images.device)]
        found[positions] = predict(run.network(result), images)
    return found


def stored_out_of_fold(store: Store, stage: StageSummary) -> Tensor | None:
    """The out-of-fold probabilities of a cross-fitted fine-tune.

    Args:
        store: the run's store.
        stage: the fine-tune.

    Returns:
        [N, classes] float32, by the images of the selection part; None if the store no longer has
        them.
    """
    entry = None if stage.report is None else store.load(stage.course, stage.report)
    return None if entry is None else entry.tensors.get(_PROBABILITIES)
