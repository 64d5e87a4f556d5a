"""The network of a bundle as `bundle.json` records it, and the check of its weights."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator
from torch import Tensor

from shiftsearch.model.architecture import ARCHITECTURES, REFERENCE, Architecture
from shiftsearch.model.network import sketch

MAX_SIDE = 2048
"""Most pixels of an image's side; memory is taken for images of this size."""
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class RecordedNetwork(Architecture):
    """The arguments of `model.network.Network`: an architecture, the image size and the classes.

    `RECORDED` has a subclass for each architecture, with its fields.
    """

    classes: Annotated[int, Field(ge=1)]
    """Number of classes."""
    image_size: tuple[Side, Side]
    """(H, W) in pixels."""
    dropout: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        """Refuse images that are too small."""
        if min(self.image_size) < self.least_side:
            raise ValueError(
                f"architecture.image_size is {self.image_size}, but both sides must be >= "
                f"{self.least_side}"
            )
        return self


RECORDED: Mapping[str, type[RecordedNetwork]] = {
    name: type(f"Recorded{architecture.__name__}", (RecordedNetwork, architecture), {})
    for name, architecture in ARCHITECTURES.items()
}
"""Subclasses by the architecture's name."""


def recorded(
    architecture: Architecture, classes: int, image_size: tuple[int, int], dropout: float
) -> RecordedNetwork:
    """The architecture in the form that a bundle records."""
    values = architecture.model_dump()
    return RECORDED[architecture.name](
        **values, classes=classes, image_size=image_size, dropout=dropout
    )


def of_its_kind(value: Any) -> Any:
    """The class of `RECORDED` that an architecture in JSON names."""
    if isinstance(value, RecordedNetwork):
        return value
    kind = (
        RECORDED.get(str(value.get("name", REFERENCE.name))) if isinstance(value, dict) else None
    )
    if kind is None:
        raise ValueError(f"architecture is {reprlib.repr(value)}, but must name a known one")
    return kind.model_validate_json(json.dumps(value))


def misfits(name: str, weights: Mapping[str, Tensor], architecture: RecordedNetwork) -> list[str]:
    """A line for each tensor of file `name` that is missing, unknown, or of another shape."""
    a = architecture
    network = sketch(a.classes, a.image_size, a.dropout, a)
    wanted = {key: _kind(tensor) for key, tensor in network.state_dict().items()}
    found = {key: _kind(tensor) for key, tensor in weights.items()}
    return [
        f"{name}: {key} is {found.get(key, 'missing')}, but must be {wanted.get(key, 'absent')}"
        for key in {**wanted, **found}
        if found.get(key) != wanted.get(key)
    ]


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
