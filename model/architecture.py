"""Architectures as values; to add one, write a class and its entry in `ARCHITECTURES`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from shiftsearch.model.frozen import Frozen, Neutral, OneOf

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Layer:
    """A layer that can be frozen.

    Attributes:
        name: shown to users.
        shape: shape of its output for one image: (C, H, W), or (features,).
    """

    name: str
    shape: tuple[int, ...]


class Architecture(Frozen):
    """The layers of a network before its head, which is a dense layer with one output per class.

    A field that can be searched is also a field of `model.hyperparameters.NetworkHyperparameters`,
    under the same name; any other has its default. The reference architecture's values are
    `Neutral`, so that its content is empty.
    """

    name: str = ""
    """The key of its entry in `ARCHITECTURES`."""

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers that can be frozen, counted from the input."""
        raise NotImplementedError

    @property
    def least_side(self) -> int:
        """The smallest height and width of an image, in pixels."""
        raise NotImplementedError

    def layers(self, image_size: tuple[int, int]) -> tuple[Layer, ...]:
        """The layers of `layer_names` with their shapes, for images of (H, W) pixels."""
        raise NotImplementedError

    def modules(self, image_size: tuple[int, int]) -> Sequence[nn.Module]:
        """The modules of `layer_names`; each takes the output of the one before it.

        Args:
            image_size: (H, W) in pixels, each at least `least_side`.
        """
        raise NotImplementedError

    @property
    def description(self) -> str:
        """The layers before the head in a few words, for the report."""
        raise NotImplementedError


Width = Annotated[int, Field(ge=1)]


class ThreeBlocks(Architecture):
    """The reference architecture: three convolution blocks and a dense layer."""

    name: Annotated[str, OneOf(["three blocks"]), Neutral("three blocks")] = "three blocks"
    filters: Annotated[
        tuple[Width, ...], Field(min_length=3, max_length=3), Neutral((32, 64, 128))
    ] = (32, 64, 128)
    """Output channels of each block."""
    dense: Annotated[Width, Neutral(512)] = 512
    """Outputs of the dense layer."""

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The blocks, then the dense layer."""
        return (*(f"block {i + 1}" for i in range(len(self.filters))), f"dense {self.dense}")

    @property
    def least_side(self) -> int:
        """The side of which the poolings leave one pixel."""
        return int(2 ** len(self.filters))

    def layers(self, image_size: tuple[int, int]) -> tuple[Layer, ...]:
        """A block halves height and width, rounding down."""
        height, width = image_size
        shapes: list[tuple[int, ...]] = [
            (channels, height >> i, width >> i) for i, channels in enumerate(self.filters, start=1)
        ]
        shapes.append((self.dense,))
        return tuple(map(Layer, self.layer_names, shapes))

    def modules(self, image_size: tuple[int, int]) -> Sequence[nn.Module]:
        """Blocks and a dense layer of `model.network`."""
        from shiftsearch.model.network import Block, Dense  # imports torch

        channels = (1, *self.filters)
        blocks = [Block(channels[i], channels[i + 1]) for i in range(len(self.filters))]
        depth, height, width = self.layers(image_size)[-2].shape
        return [*blocks, Dense(depth * height * width, self.dense)]

    @property
    def description(self) -> str:
        """The layers with their widths."""
        return (
            "three blocks of 3x3 convolution, batch normalisation, ReLU and 2x2 max-pooling "
            f"({', '.join(map(str, self.filters))} filters), a dense layer of {self.dense}"
        )


REFERENCE = ThreeBlocks()
"""The published network."""

ARCHITECTURES: Mapping[str, type[Architecture]] = {
    "three blocks": ThreeBlocks,
}
"""Architectures by name; each can be made without arguments."""
