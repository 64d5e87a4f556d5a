"""The final evaluation of the winner and the reference, on TEST and both parts of TEST2.

The held-out part is scored only here and in `evaluate`; see `experiments.outcome.looks`.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shiftsearch.data.dataset import Dataset
from shiftsearch.data.publishing import write_atomically
from shiftsearch.data.tensors import changed, to_device
from shiftsearch.experiments.outcome.kept import out_of_fold, weights_of
from shiftsearch.experiments.outcome.result_rows import TableRow
from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.experiments.outcome.statistics import (
    paired_bootstrap,
    paired_scores,
    score_interval,
    wilson,
)
from shiftsearch.model.device import Device
from shiftsearch.model.evaluation import Evaluation, correct, predict, summarise
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.objective import ACCURACY, Objective
from shiftsearch.model.prepared import division_of
from shiftsearch.model.protocol import build
from shiftsearch.model.result import Stage
from shiftsearch.model.store import Store

STAGES: Mapping[str, Stage] = {"before": "baseline", "after": "fine_tune"}
RESAMPLES = 10_000


@dataclass(frozen=True)
class Part:
    """Images that are scored together.

    Attributes:
        split: TEST or TEST2.
        name: "all", "selection" or "held-out".
        images: [N, 1, H, W] on the device, as stored.
        labels: [N] int64 on the CPU.
        out_of_fold: whether the fine-tune is cross-fitted on these images, see `model.folds`.
    """

    split: str
    name: str
    images: Tensor
    labels: Tensor
    out_of_fold: bool = False

    def label(self, stage: str) -> str:
        """What this part was used for, in words.

        "held out", "selected on", "trained on", or, where each image was scored by a fine-tune
        that it did not validate, "out of fold".
        """
        if self.name == "held-out":
            return "held out"
        if self.is_out_of_fold(stage):
            return "out of fold"
        return "trained on" if (self.split, stage) == ("TEST", "after") else "selected on"

    def is_out_of_fold(self, stage: str) -> bool:
        """Whether the part's scores after `stage` are those of the folds' fine-tunes."""
        return self.out_of_fold and stage == "after"


def parts_of(dataset: Dataset, protocol: Protocol, device: Device) -> list[Part]:
    """TEST, then the selection part of TEST2, then its held-out part unless that is empty."""
    division = division_of(dataset, protocol)
    test2 = dataset.splits["TEST2"]
    wanted = [("TEST", "all", dataset.splits["TEST"])]
    wanted += [("TEST2", "selection", test2.take(division.selection))]
    if len(division.held_out):
        wanted += [("TEST2", "held-out", test2.take(division.held_out))]
    found = []
    for split, name, images_and_labels in wanted:
        images, labels = to_device(images_and_labels, device.torch_device)
        folded = name == "selection" and protocol.folds > 1
        found.append(Part(split, name, images, labels.cpu(), folded))
    return found


@dataclass(frozen=True)
class Scored:
    """A configuration's replicates, scored on every part before and after fine-tuning.

    Attributes:
        title: title of the configuration in tables.
        candidate: the configuration.
        evaluations: by stage ("before", "after"), index of the part, and replicate.
        correctness: by the same keys; [N] bool, whether each image is classified correctly.
        predicted: by the same keys; [N] int64, the predicted classes.
    """

    title: str
    candidate: Candidate
    evaluations: Mapping[tuple[str, int, int], Evaluation]
    correctness: Mapping[tuple[str, int, int], NDArray[np.bool_]]
    predicted: Mapping[tuple[str, int, int], NDArray[np.int64]] = field(default_factory=dict)

    def best_replicate(self, selection: int) -> int:
        """The replicate with the best objective after fine-tuning on the part of this index."""

        def rank(replicate: int) -> tuple[float, int]:
            found = self.evaluations["after", selection, replicate]
            return self.candidate.objective.of_split(found), -replicate

        return max(self.candidate.results, key=rank)

    def mean_correctness(self, stage: str, part: int) -> NDArray[np.float64]:
        """[N] correctness of each image in 0..1, averaged over replicates."""
        rows = [self.correctness[stage, part, r] for r in self.candidate.results]
        mean: NDArray[np.float64] = np.mean(np.stack(rows), axis=0, dtype=np.float64)
        return mean

    def predictions(self, stage: str, part: int) -> NDArray[np.int64]:
        """[replicates, N] predicted classes."""
        return np.stack([self.predicted[stage, part, r] for r in self.candidate.results])


def score(
    title: str,
    candidate: Candidate,
    parts: Sequence[Part],
    store: Store,
    dataset: Dataset,
    device: Device,
) -> Scored:
    """Evaluate all finished replicates of a configuration on all parts.

    Out of fold, the stored probabilities of the folds' fine-tunes are evaluated.
    """
    evaluations: dict[tuple[str, int, int], Evaluation] = {}
    correctness: dict[tuple[str, int, int], NDArray[np.bool_]] = {}
    predicted: dict[tuple[str, int, int], NDArray[np.int64]] = {}
    size, classes = dataset.image_size, len(dataset.classes)
    hyperparameters = Hyperparameters.from_flat(candidate.configuration)
    architecture = hyperparameters.network.architecture
    images = [changed(part.images, hyperparameters.preprocessing.apply) for part in parts]
    for replicate, result in candidate.results.items():
        for stage in STAGES:
            weights = weights_of(store, result, STAGES[stage])
            network = build(weights, classes, size, device, architecture)
            for i, part in enumerate(parts):
                if part.is_out_of_fold(stage):
                    probabilities = out_of_fold(store, result)
                else:
                    probabilities = predict(network, images[i])
                evaluations[stage, i, replicate] = summarise(probabilities, part.labels)
                correctness[stage, i, replicate] = correct(probabilities, part.labels)
                predicted[stage, i, replicate] = probabilities.argmax(1).numpy()
    return Scored(title, candidate, evaluations, correctness, predicted)


def table_rows(
    scored: Scored, parts: Sequence[Part], beside: Sequence[Objective] = ()
) -> list[TableRow]:
    """One row per stage and part, with the mean over replicates and its interval over images.

    Args:
        scored: a configuration.
        parts: the parts that it was scored on.
        beside: scores that are shown beside the accuracy.
    """
    rows = []
    for stage in STAGES:
        for i, part in enumerate(parts):
            each = [scored.evaluations[stage, i, r] for r in sorted(scored.candidate.results)]
            accuracy = fmean(e.accuracy for e in each)
            rows.append(
                TableRow(
                    configuration=scored.title,
                    stage=stage,
                    split=part.split,
                    part=part.name,
                    label=part.label(stage),
                    n=each[0].n,
                    accuracy=accuracy,
                    interval=list(wilson(accuracy, each[0].n)),
                    replicates=[e.accuracy for e in each],
                    loss=fmean(e.loss for e in each),
                    scores={s.name: _scored(s, each) for s in beside},
                )
            )
    return rows


def _scored(score: Objective, each: Sequence[Evaluation]) -> dict[str, Any]:
    """A score of the replicates on a part: its mean, interval over images, and each value."""
    replicates = [score.of_split(e) for e in each]
    confusion = np.mean([e.confusion for e in each], axis=0)
    interval = score_interval(score.score, confusion)
    return {
        "value": (value := fmean(replicates)),
        "interval": [min(value, interval[0]), max(value, interval[1])],
        "replicates": replicates,
    }


def compare(winner: Scored, reference: Scored, parts: Sequence[Part]) -> dict[str, Any]:
    """Winner minus reference in the objective after fine-tuning, paired over images.

    The images are those of the last part: the held-out part, or the selection part if nothing is
    held out.
    """
    last, objective = len(parts) - 1, winner.candidate.objective
    if objective == ACCURACY:
        difference, low, high = paired_bootstrap(
            winner.mean_correctness("after", last),
            reference.mean_correctness("after", last),
            resamples=RESAMPLES,
        )
    else:
        difference, low, high = paired_scores(
            objective.score,
            parts[last].labels.numpy(),
            winner.predictions("after", last),
            reference.predictions("after", last),
            resamples=RESAMPLES,
        )
    return {
        **({} if objective == ACCURACY else {"score": objective.name}),
        "part": parts[last].name,
        "n": len(parts[last].labels),
        "difference": difference,
        "interval": [low, high],
        "resamples": RESAMPLES,
    }


def confusion_of(scored: Scored, parts: Sequence[Part], part: int) -> dict[str, Any]:
    """Confusion matrices of the best replicate on a part, before and after fine-tuning."""
    replicate = scored.best_replicate(part)
    return {
        stage: [list(row) for row in scored.evaluations[stage, part, replicate].confusion]
        for stage in STAGES
    }


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write `result.json` in one step."""
    write_atomically(path, json.dumps(result, indent=1, allow_nan=False).encode())


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that computed the numbers."""
    names = ("shiftsearch", "torch", "ray", "optuna", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def counts_of(dataset: Dataset) -> dict[str, list[int]]:
    """Number of images of each class in every split."""
    size = len(dataset.classes)
    return {
        name: torch.bincount(torch.from_numpy(np.array(split.labels)), minlength=size).tolist()
        for name, split in dataset.splits.items()
    }
