"""Configurations whose networks lie in a store, as retraining leaves them, without training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from shiftsearch.experiments.benchmarks.untrained import random_weights
from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.model.hyperparameters import Hyperparameters
from shiftsearch.model.network import allocate
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.store import Entry, Store, content_key
from tests.made_results import made_stage

Weights = Mapping[str, Tensor]


def always(label: int, classes: int, image_size: tuple[int, int]) -> Weights:
    """Weights of a network that predicts class `label` for every image, with probability 0.75."""
    state = {k: torch.zeros_like(t) for k, t in allocate(classes, image_size).state_dict().items()}
    share = torch.full((classes,), 0.25 / (classes - 1))
    share[label] = 0.75
    return state | {"head.bias": share.log()}


def keep_two(store: Store, result: ProtocolResult) -> None:
    """Store networks of 28x28 images and 6 classes: drawn ones, then one that predicts class 2."""
    size, classes = (28, 28), 6
    store.save(result.baseline.course, "final", Entry(random_weights(0, classes, size), {}))
    store.save(result.fine_tune.course, "final", Entry(always(2, classes, size), {}))


def retrained(
    store: Store, replicates: Mapping[int, tuple[Weights, Weights]], number: int = 0
) -> Candidate:
    """A configuration with its weights before and after fine-tuning stored, by replicate."""
    results = {}
    for replicate, (before, after) in replicates.items():
        stages = []
        for stage, weights in (("baseline", before), ("fine_tune", after)):
            course = content_key([number, replicate, stage])
            store.save(course, "final", Entry(weights, {}))
            stages.append(made_stage(0.9, 0.5, key=f"{course}-0004"))
        results[replicate] = ProtocolResult(*stages)
    return Candidate(number, Hyperparameters().to_flat(), 0.9, "TEST", results, {})
