"""Write a bundle, see `model.bundle`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from shiftsearch.data.dataset import Dataset
from shiftsearch.model import alone, classifier
from shiftsearch.model.bundle_format import (
    RECORD,
    WEIGHTS,
    BundleError,
    DivisionRecord,
    Origin,
    Preprocessing,
    Record,
    RecordedNetwork,
    Stage,
    checksum,
    is_replaceable,
    misfits,
    publish,
    recorded,
)
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.protocol import division_of


def save_bundle(
    folder: Path,
    *,
    weights: Mapping[str, Tensor],
    baseline_weights: Mapping[str, Tensor],
    dataset: Dataset,
    hyperparameters: Hyperparameters,
    protocol: Protocol,
    metrics: Sequence[Mapping[str, Any]],
    versions: Mapping[str, str],
    seed: int,
    number: int,
    replicate: int,
) -> None:
    """Write a bundle, replacing the one that may be there.

    After a crash at any point, `model.bundle.load_bundle` finds either the old bundle or the new
    one, complete.

    Args:
        folder: the bundle's folder; its parent is made if it is missing.
        weights: the network's state after fine-tuning.
        baseline_weights: the network's state before it.
        dataset: the dataset that the network was trained on.
        hyperparameters: the trial's configuration.
        protocol: the run's protocol.
        metrics: rows of plain JSON values, kept as they are.
        versions: software versions of the training, by name.
        seed: the study's seed.
        number: the trial's number.
        replicate: the number of the trial's replicate that is exported.

    Raises:
        BundleError: the weights do not fit the dataset, or `folder` holds something else.
        ValueError: `metrics` holds NaN or an infinity.
    """
    architecture = recorded(
        hyperparameters.network.architecture,
        classes=len(dataset.classes),
        image_size=dataset.image_size,
        dropout=hyperparameters.fine_tune.dropout,
    )
    states: dict[Stage, Mapping[str, Tensor]] = {"before": baseline_weights, "after": weights}
    _check_savable(folder, states, architecture)
    contents = {name: _serialised(states[stage]) for stage, name in WEIGHTS.items()}
    kind = type(architecture)
    record = Record[kind](  # type: ignore[valid-type]
        architecture=architecture,
        preprocessing=Preprocessing(
            size=dataset.image_size,
            scale=dataset.scale,
            bits=dataset.bits,
            **hyperparameters.preprocessing.content(),
        ),
        classes=dataset.classes,
        hyperparameters=hyperparameters.to_flat(),
        protocol=protocol,
        dataset_digest=dataset.digest,
        division=_division_record(dataset, protocol),
        metrics=tuple(dict(row) for row in metrics),
        versions=dict(versions),
        study=Origin(seed=seed, number=number, replicate=replicate),
        checksums={name: checksum(content) for name, content in contents.items()},
    )
    # Not pydantic's own JSON, which turns NaN into null without a word.
    written = record.model_dump(by_alias=True)
    written["preprocessing"] = record.preprocessing.content()
    text = json.dumps(written, indent=1, allow_nan=False)
    publish(folder, {**contents, **_sources(), RECORD: text.encode()})


def _sources() -> dict[str, bytes]:
    """`load.py` and what it imports, which need torch and safetensors alone."""
    package = "from shiftsearch.model.classifier import"
    loads = inspect.getsource(alone).replace(package, "from classifier import")
    return {"load.py": loads.encode(), "classifier.py": inspect.getsource(classifier).encode()}


def _check_savable(
    folder: Path, states: Mapping[Stage, Mapping[str, Tensor]], architecture: RecordedNetwork
) -> None:
    problems = [p for s, name in WEIGHTS.items() for p in misfits(name, states[s], architecture)]
    if not is_replaceable(folder):
        problems.append(f"{folder}: is not a bundle, so it is not replaced")
    if problems:
        raise BundleError(problems)


def _serialised(weights: Mapping[str, Tensor]) -> bytes:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    content: bytes = safetensors.torch.save(tensors)
    return content


def _division_record(dataset: Dataset, protocol: Protocol) -> DivisionRecord:
    return DivisionRecord(
        holdout=protocol.holdout,
        seed=protocol.division_seed,
        test2_digest=dataset.splits["TEST2"].digest(),
        held_out=tuple(division_of(dataset, protocol).held_out.tolist()),
    )
