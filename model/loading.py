"""Read a bundle from its folder, checked; see `model.bundle`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from shiftsearch.model.architecture import Own
from shiftsearch.model.bundle import Bundle
from shiftsearch.model.bundle_format import (
    RECORD,
    WEIGHTS,
    BundleError,
    checksum,
    present,
    read_record,
)
from shiftsearch.model.own_network import Function, give, is_given
from shiftsearch.model.recorded_network import RecordedNetwork, misfits

MAX_HEADER = 4_000_000
"""Most bytes of the header of a file of weights; a tensor takes about 100, and also an empty
one 2 kB of memory."""


def load_bundle(folder: Path, network: Function | None = None) -> Bundle:
    """Read a bundle and check all of it; nothing is unpickled, and no code of it is run.

    Args:
        folder: the bundle's folder.
        network: the function of the person's own network that the bundle holds the weights of; a
            process that was given it already needs none.

    Raises:
        BundleError: a line for each problem: a file that is missing or damaged, a schema that this
            version does not read, a field or tensor that is wrong, an own network without its
            function.
        model.own_network.OwnNetworkError: the function cannot be used.
    """
    folder = present(folder)
    missing = [
        f"{folder / name}: is missing, but every bundle has it"
        for name in (RECORD, *WEIGHTS.values())
        if not (folder / name).is_file()
    ]
    if missing:
        raise BundleError(missing)
    record = read_record(folder / RECORD)
    architectures = [record.architecture, *(m.architecture for m in record.members)]
    own = (a for a in architectures if isinstance(a, Own))
    _give(folder / RECORD, next(own, record.architecture), network)
    wanted = dict.fromkeys(WEIGHTS.values(), record.architecture)
    wanted |= {member.file: member.architecture for member in record.members}
    weights: dict[str, Mapping[str, Tensor]] = {}
    problems: list[str] = []
    for name, architecture in wanted.items():
        weights[name], found = _read(folder / name, record.checksums.get(name), architecture)
        problems += found
    if problems:
        raise BundleError(problems)
    return Bundle(
        record,
        {stage: weights[name] for stage, name in WEIGHTS.items()},
        tuple(weights[member.file] for member in record.members),
    )


def _read(
    file: Path, wanted: str | None, architecture: RecordedNetwork
) -> tuple[Mapping[str, Tensor], list[str]]:
    """The weights in a file that `bundle.json` names, and a line for each fault."""
    if not file.is_file():
        return {}, [f"{file}: is missing, but {RECORD} names it"]
    content = file.read_bytes()
    if (found := checksum(content)) != wanted:
        return {}, [f"{file}: is damaged: checksum {found}, but {RECORD} has {str(wanted)[:64]}"]
    if (header := int.from_bytes(content[:8], "little")) > MAX_HEADER:
        return {}, [
            f"{file}: cannot be read: header of {header} bytes, but {MAX_HEADER} is the most"
        ]
    try:
        weights = safetensors.torch.load(content)
        return weights, misfits(str(file), weights, architecture)
    except Exception as error:  # made so on purpose: the checksum is right
        reason = " ".join(str(error).split())[:200]
        return {}, [f"{file}: cannot be read: {type(error).__name__}: {reason}"]


def _give(file: Path, architecture: RecordedNetwork, network: Function | None) -> None:
    """Give this process the function of a bundle's own network."""
    source = architecture.source if isinstance(architecture, Own) else ""
    if network is not None and source:
        give(source, network, architecture.classes, architecture.image_size)
    elif network is not None:
        raise BundleError(
            [f"{file}: holds {architecture.name!r}, so no function of an own network is used"]
        )
    elif isinstance(architecture, Own) and not is_given(source):
        name = source.partition("@")[0]
        raise BundleError(
            [
                f"{file}: holds weights of an own network, and no code: give its function with"
                f" --network {name}, or in Python with load(..., network=FUNCTION)"
            ]
        )
