"""Write a bundle, see `model.bundle`; add files to one."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

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
    present,
    publish,
    read_record,
)
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.prepared import division_of
from shiftsearch.model.recorded_network import RecordedNetwork, misfits, recorded

Card: TypeAlias = Callable[[Record[Any], Mapping[str, int]], Mapping[str, bytes]]
"""Makes the files of the model card, by name, from the content of `bundle.json` and the size in
bytes of each file beside it."""


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
    card: Card | None = None,
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
        model: what people want to know about it, see `model.bundle_facts`; plain JSON values.
        further: the other networks of an ensemble.
        card: makes the model card; None: the bundle has none.

    Raises:
        BundleError: the weights do not fit the dataset, or `folder` holds something else.
        ValueError: `metrics` holds NaN or an infinity.
    """
    architecture = _recorded(hyperparameters, dataset)
    members = tuple(_further(m, i, dataset) for i, m in enumerate(further, start=2))
    states: dict[Stage, Mapping[str, Tensor]] = {"before": baseline_weights, "after": weights}
    files = {name: (states[stage], architecture) for stage, name in WEIGHTS.items()}
    files |= {
        member.file: (one.weights, member.architecture)
        for member, one in zip(members, further, strict=True)
    }
    _check_savable(folder, files)
    contents = {name: _serialised(state) for name, (state, _) in files.items()}
    kind = type(architecture)
    record = Record[kind](  # type: ignore[valid-type, call-arg]  # the alias
        schema=SEVERAL if members else SCHEMA,
        architecture=architecture,
        preprocessing=Preprocessing(
            size=dataset.image_size,
            scale=dataset.scale,
            bits=dataset.bits,
            aspect=dataset.aspect,
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
    contents |= _sources()
    contents |= _described(record, contents, card)
    publish(folder, {**contents, RECORD: _text(record)})


def rewrite(
    folder: Path,
    target: Path,
    files: Mapping[str, bytes],
    model: Mapping[str, Any],
    card: Card | None = None,
) -> None:
    """Write a whole bundle anew with further files, and with other words about its model.

    Args:
        folder: a bundle that `load_bundle` accepts.
        target: where it is written; may be `folder`.
        files: contents by name, which `bundle.json` gets the checksums of.
        model: keys and values that are set in the record's `model`.
        card: makes the model card; None: it stays as it is.

    Raises:
        BundleError: `target` holds something else than a bundle.
    """
    if not is_replaceable(target):
        raise BundleError([f"{target}: is not a bundle, so it is not replaced"])
    folder = present(folder)
    contents = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    contents |= files
    # The text itself is changed: it may be of an earlier version, which wrote fewer fields.
    written = json.loads(contents.pop(RECORD))
    written["checksums"] |= {name: checksum(content) for name, content in files.items()}
    written["model"] = {**written.get("model", {}), **model}
    record = read_record(folder / RECORD).model_copy(update={"model": written["model"]})
    contents |= _described(record, contents, card)
    publish(target, {**contents, RECORD: _written(written)})


def _described(
    record: Record[Any], contents: Mapping[str, bytes], card: Card | None
) -> dict[str, bytes]:
    """The files of the model card, if there is one."""
    sizes = {name: len(content) for name, content in contents.items()}
    return {} if card is None else {**card(record, sizes)}


def _recorded(hyperparameters: Hyperparameters, dataset: Dataset) -> RecordedNetwork:
    return recorded(
        hyperparameters.network.architecture,
        classes=len(dataset.classes),
        image_size=dataset.image_size,
        dropout=hyperparameters.fine_tune.dropout,
    )


def _further(member: Member, number: int, dataset: Dataset) -> FurtherMember:
    return FurtherMember(
        file=f"member-{number}.safetensors",
        share=member.share,
        architecture=_recorded(member.hyperparameters, dataset),
        preprocessing=member.hyperparameters.preprocessing,
        hyperparameters=member.hyperparameters.to_flat(),
        study=member.origin,
    )


def _text(record: Record[Any]) -> bytes:
    """The content of `bundle.json`."""
    # Not pydantic's own JSON, which turns NaN into null without a word.
    written = record.model_dump(by_alias=True)
    written["preprocessing"] = record.preprocessing.content()
    # Left out where earlier versions did not write them, so that these load the bundle.
    for name, absent in (("temperature", 1.0), ("model", {}), ("members", ())):
        if written[name] == absent:
            del written[name]
    return _written(written)


def _written(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, allow_nan=False).encode()


def _sources() -> dict[str, bytes]:
    """`load.py` and what it imports, which need torch and safetensors alone."""
    package = "from shiftsearch.model.classifier import"
    loads = inspect.getsource(alone).replace(package, "from classifier import")
    return {"load.py": loads.encode(), "classifier.py": inspect.getsource(classifier).encode()}


def _check_savable(
    folder: Path, files: Mapping[str, tuple[Mapping[str, Tensor], RecordedNetwork]]
) -> None:
    problems = [line for name, (state, a) in files.items() for line in misfits(name, state, a)]
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
