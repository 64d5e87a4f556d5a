"""The final evaluation of the winner and the reference, on TEST and both parts of TEST2.

The held-out part is scored only here and in `evaluate`. Every look is written to `RUN/looks.json`
before it is taken, so that it is counted even if the process dies.
"""

from __future__ import annotations

import fcntl
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from shiftsearch.experiments.outcome.statistics import paired_bootstrap, wilson
from shiftsearch.experiments.run_folder import read_json
from shiftsearch.model.device import Device
from shiftsearch.model.evaluation import Evaluation, correct, predict, summarise
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
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
    """

    title: str
    candidate: Candidate
    evaluations: Mapping[tuple[str, int, int], Evaluation]
    correctness: Mapping[tuple[str, int, int], NDArray[np.bool_]]

    def best_replicate(self, selection: int) -> int:
        """The replicate with the best accuracy after fine-tuning on the part of this index."""
        replicates = sorted(self.candidate.results)
        return max(
            replicates, key=lambda r: (self.evaluations["after", selection, r].accuracy, -r)
        )

    def mean_correctness(self, stage: str, part: int) -> NDArray[np.float64]:
        """[N] correctness of each image in 0..1, averaged over replicates."""
        rows = [self.correctness[stage, part, r] for r in self.candidate.results]
        mean: NDArray[np.float64] = np.mean(np.stack(rows), axis=0, dtype=np.float64)
        return mean


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
    return Scored(title, candidate, evaluations, correctness)


def table_rows(scored: Scored, parts: Sequence[Part]) -> list[TableRow]:
    """One row per stage and part, with the mean over replicates and its interval over images."""
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
                )
            )
    return rows


def compare(winner: Scored, reference: Scored, parts: Sequence[Part]) -> dict[str, Any]:
    """Winner minus reference after fine-tuning, paired over the images of the last part.

    The last part is the held-out part, or the selection part if nothing is held out.
    """
    last = len(parts) - 1
    difference, low, high = paired_bootstrap(
        winner.mean_correctness("after", last),
        reference.mean_correctness("after", last),
        resamples=RESAMPLES,
    )
    return {
        "part": parts[last].name,
        "n": len(parts[last].labels),
        "difference": difference,
        "interval": [low, high],
        "resamples": RESAMPLES,
    }


def part_rows(scored: Scored, parts: Sequence[Part], replicate: int) -> list[dict[str, Any]]:
    """One replicate's rows for the bundle, in the form of `model.bundle.Bundle.evaluate`."""
    return [
        {
            "stage": stage,
            "split": part.split,
            "part": part.name,
            "label": part.label(stage),
            **scored.evaluations[stage, i, replicate].to_json(),
        }
        for stage in STAGES
        for i, part in enumerate(parts)
    ]


def confusion_of(scored: Scored, parts: Sequence[Part], part: int) -> dict[str, Any]:
    """Confusion matrices of the best replicate on a part, before and after fine-tuning."""
    replicate = scored.best_replicate(part)
    return {
        stage: [list(row) for row in scored.evaluations[stage, part, replicate].confusion]
        for stage in STAGES
    }


def count_looks(path: Path, scored: Mapping[str, Candidate], held_out: bool) -> None:
    """Record the looks at the held-out part that the final evaluation will take.

    Args:
        path: the file `looks.json`.
        scored: the configurations, by title.
        held_out: whether anything is held out.
    """
    looks = [
        {"configuration": title, "replicate": r, "stage": s, "purpose": "final evaluation"}
        for title, candidate in scored.items()
        for r in sorted(candidate.results)
        for s in STAGES
    ]
    note_looks(path, looks if held_out else [])


def looks_so_far(path: Path) -> list[dict[str, Any]]:
    """All looks in `looks.json`."""
    looks: list[dict[str, Any]] = read_json(path) if path.exists() else []
    return looks


def note_looks(path: Path, looks: Sequence[Mapping[str, Any]]) -> None:
    """Add looks to `looks.json`, before they are taken.

    A second lock file is held from reading to writing, so that processes that count at the same
    time wait for each other. (The file itself is replaced, so a lock on it would be lost.)
    """
    with path.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        text = json.dumps([*looks_so_far(path), *looks], indent=1)
        write_atomically(path, text.encode())


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
