"""Write a bundle, see `model.bundle`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from shiftsearch.data.dataset import Dataset
from shiftsearch.model import alone, classifier
from shiftsearch.model.bundle_format import (
    RECORD,
    SCHEMA,
    SEVERAL,
    WEIGHTS,
    BundleError,
    DivisionRecord,
    FurtherMember,
    Origin,
    Preprocessing,
    Record,
    Stage,
    checksum,
    is_replaceable,
    publish,
)
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.prepared import division_of
from shiftsearch.model.recorded_network import RecordedNetwork, misfits, recorded


@dataclass(frozen=True)
class Member:
    """A further network of an ensemble.

    Attributes:
        weights: its state after fine-tuning.
        hyperparameters: the configuration that it was trained with.
        share: its weight in the mean of the probabilities, in (0, 1).
        origin: which training made it.
    """

    weights: Mapping[str, Tensor]
    hyperparameters: Hyperparameters
    share: float
    origin: Origin


def _recorded(member: Member, number: int, dataset: Dataset) -> FurtherMember:
    hyperparameters = member.hyperparameters
    return FurtherMember(
        file=f"member-{number}.safetensors",
        share=member.share,
        architecture=recorded(
            hyperparameters.network.architecture,
            classes=len(dataset.classes),
            image_size=dataset.image_size,
            dropout=hyperparameters.fine_tune.dropout,
        ),
        preprocessing=hyperparameters.preprocessing,
        hyperparameters=hyperparameters.to_flat(),
        study=member.origin,
    )


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
    temperature: float = 1.0,
    model: Mapping[str, Any] | None = None,
    further: Sequence[Member] = (),
) -> None:
    """Write a bundle, replacing the one that may be there.

    After a crash at any point, `model.loading.load_bundle` finds either the old bundle or the new
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
        temperature: of the probabilities, see `model.calibration`.
        model: what the model is made of, plain JSON values; kept as they are.
        further: the other networks of an ensemble.

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
    members = tuple(_recorded(m, i, dataset) for i, m in enumerate(further, start=2))
    problems = [
        problem
        for member, one in zip(members, further, strict=True)
        for problem in misfits(member.file, one.weights, member.architecture)
    ]
    _check_savable(folder, states, architecture, problems)
    contents = {name: _serialised(states[stage]) for stage, name in WEIGHTS.items()}
    contents |= {
        member.file: _serialised(one.weights) for member, one in zip(members, further, strict=True)
    }
    kind = type(architecture)
    record = Record[kind](  # type: ignore[valid-type, call-arg]  # the alias
        schema=SEVERAL if members else SCHEMA,
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
        temperature=temperature,
        model=dict(model or {}),
        members=members,
    )
    publish(folder, {**contents, **_sources(), RECORD: _text(record).encode()})


def _text(record: Record[Any]) -> str:
    """The content of `bundle.json`."""
    # Not pydantic's own JSON, which turns NaN into null without a word.
    written = record.model_dump(by_alias=True)
    written["preprocessing"] = record.preprocessing.content()
    # Left out where earlier versions did not write them, so that these load the bundle.
    for name, absent in (("temperature", 1.0), ("model", {}), ("members", ())):
        if written[name] == absent:
            del written[name]
    return json.dumps(written, indent=1, allow_nan=False)


def _sources() -> dict[str, bytes]:
    """`load.py` and what it imports, which need torch and safetensors alone."""
    package = "from shiftsearch.model.classifier import"
    loads = inspect.getsource(alone).replace(package, "from classifier import")
    return {"load.py": loads.encode(), "classifier.py": inspect.getsource(classifier).encode()}


def _check_savable(
    folder: Path,
    states: Mapping[Stage, Mapping[str, Tensor]],
    architecture: RecordedNetwork,
    further: Sequence[str],
) -> None:
    problems = [p for s, name in WEIGHTS.items() for p in misfits(name, states[s], architecture)]
    problems += further
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
