"""Architectures as values; to add one, write a class and its entry in `ARCHITECTURES`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Annotated, ClassVar

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
    """The layers of a network before its head, which has one output per class.

    A field that can be searched is also a field of `model.hyperparameters.NetworkHyperparameters`,
    under the same name; any other has its default. The reference architecture's values are
    `Neutral`, so that its content is empty.
    """

    name: str = ""
    """The key of its entry in `ARCHITECTURES`."""
    draws_weights: ClassVar[bool] = False
    """Whether the initial weights are those that `build` leaves, drawn from torch's generator."""

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

    def build(
        self, classes: int, image_size: tuple[int, int]
    ) -> tuple[Sequence[nn.Module], nn.Module]:
        """The modules of `layer_names`, and the head: here a dense layer."""
        from torch import nn

        features = prod(self.layers(image_size)[-1].shape)
        return self.modules(image_size), nn.Linear(features, classes)

    @property
    def description(self) -> str:
        """The layers before the head in a few words, for the report."""
        raise NotImplementedError


LAYERS = 5
"""The most layers that can be frozen in any architecture."""

Width = Annotated[int, Field(ge=1)]
Depth = Annotated[int, Field(ge=2, le=4)]
Multiplier = Annotated[float, Field(ge=0.125, le=4)]
Attention = Annotated[str, OneOf(("none", "squeeze_excitation"))]
FirstKernel = Annotated[int, OneOf((3, 5, 7))]


class Convolutional(Architecture):
    """Convolution blocks, each of which halves height and width, and a dense layer."""

    dense: Annotated[Width, Neutral(512)] = 512
    """Outputs of the dense layer."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Output channels of each block."""
        raise NotImplementedError

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The blocks, then the dense layer."""
        return (*(f"block {i + 1}" for i in range(len(self.channels))), f"dense {self.dense}")

    @property
    def least_side(self) -> int:
        """The side of which the poolings leave one pixel: 2 to the power of the blocks' number."""
        return int(2 ** len(self.channels))

    def layers(self, image_size: tuple[int, int]) -> tuple[Layer, ...]:
        """A block halves height and width, rounding down."""
        height, width = image_size
        shapes: list[tuple[int, ...]] = [
            (channels, height >> i, width >> i) for i, channels in enumerate(self.channels, 1)
        ]
        shapes.append((self.dense,))
        return tuple(map(Layer, self.layer_names, shapes))

    def modules(self, image_size: tuple[int, int]) -> Sequence[nn.Module]:
        """The blocks, and a dense layer of `model.network`."""
        from shiftsearch.model.network import Dense  # imports torch

        pairs = zip((1, *self.channels), self.channels, strict=False)
        blocks = [self.block(i, inputs, outputs) for i, (inputs, outputs) in enumerate(pairs)]
        depth, height, width = self.layers(image_size)[-2].shape
        return [*blocks, Dense(depth * height * width, self.dense)]

    def block(self, position: int, inputs: int, outputs: int) -> nn.Module:
        """The block at a position, counted from 0: a `model.network.Block`."""
        from shiftsearch.model.network import Block  # imports torch

        del position
        return Block(inputs, outputs)


class ThreeBlocks(Convolutional):
    """The reference architecture: three convolution blocks and a dense layer."""

    name: Annotated[str, OneOf(["three blocks"]), Neutral("three blocks")] = "three blocks"
    filters: Annotated[
        tuple[Width, ...], Field(min_length=3, max_length=3), Neutral((32, 64, 128))
    ] = (32, 64, 128)
    """Output channels of each block."""

    @property
    def channels(self) -> tuple[int, ...]:
        """The filters."""
        return self.filters

    @property
    def description(self) -> str:
        """The layers with their widths."""
        return (
            "three blocks of 3x3 convolution, batch normalisation, ReLU and 2x2 max-pooling "
            f"({', '.join(map(str, self.filters))} filters), a dense layer of {self.dense}"
        )


class Blocks(Convolutional):
    """The reference architecture with another depth, width or block.

    With its default values the network is the reference's. The values are in keys all the same, so
    the reference configuration keeps its own.

    Each block doubles the filters of the one before it. It halves height and width, rounding down,
    and the last must leave a pixel: a depth of d needs images of at least 2^d pixels a side. With
    28x28 a fourth block leaves one pixel, and a fifth would leave none.
    """

    name: Annotated[str, OneOf(["blocks"])] = "blocks"
    depth: Depth = 3
    """Number of blocks."""
    width: Multiplier = 1.0
    """Factor of the reference's filters (32, 64, 128, and 256 in a fourth block), rounded."""
    residual: bool = False
    """Whether each block has a shortcut around it, see `model.block_parts.Residual`."""
    attention: Attention = "none"
    """What weighs the channels of each block's output, see `model.block_parts`."""
    first_kernel: FirstKernel = 3
    """Side of the first block's convolution, in pixels; the others have 3."""

    @property
    def channels(self) -> tuple[int, ...]:
        """32, 64, ... times the width, rounded."""
        return tuple(round(32 * 2**i * self.width) for i in range(self.depth))

    def block(self, position: int, inputs: int, outputs: int) -> nn.Module:
        """A `Block`, with attention and shortcut if they are on."""
        from shiftsearch.model.block_parts import Residual, SqueezeExcitation
        from shiftsearch.model.network import Block

        kernel = self.first_kernel if position == 0 else 3
        block: nn.Module = Block(inputs, outputs, kernel)
        if self.attention == "squeeze_excitation":
            block = SqueezeExcitation(block, outputs)
        return Residual(block, inputs, outputs) if self.residual else block

    @property
    def description(self) -> str:
        """The layers with their widths, and what is on."""
        side = self.first_kernel
        first = "" if side == 3 else f" ({side}x{side} in the first)"
        parts = {"squeeze-and-excitation": self.attention != "none", "a shortcut": self.residual}
        on = " and ".join(part for part, is_on in parts.items() if is_on)
        return (
            f"{self.depth} blocks of 3x3 convolution{first}, batch normalisation, ReLU and 2x2 "
            f"max-pooling ({', '.join(map(str, self.channels))} filters){on and f', with {on}'}, "
            f"a dense layer of {self.dense}"
        )


OWN_NAME = r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(@[0-9a-f]{16})?"
"""`MODULE:FUNCTION`, or `MODULE:FUNCTION@DIGEST` with the digest of its source; a pattern."""

Source = Annotated[str, Field(pattern=f"^({OWN_NAME})?$")]


class Own(Architecture):
    """A person's own network, see `model.own_network`, which must have been given its function."""

    name: Annotated[str, OneOf(["own"])] = "own"
    source: Source = ""
    """With the digest, see `model.own_source`; empty where an experiment names no function."""
    draws_weights: ClassVar[bool] = True

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the network's children without the last, which is the head."""
        from shiftsearch.model.own_network import given

        return tuple(layer.name for layer in given(self.source).layers)

    @property
    def least_side(self) -> int:
        """That of all data; the function itself refuses what it cannot take."""
        return 16

    def layers(self, image_size: tuple[int, int]) -> tuple[Layer, ...]:
        """With the shapes for the size of the images that the function was given for."""
        from shiftsearch.model.own_network import given

        del image_size
        return given(self.source).layers

    def modules(self, image_size: tuple[int, int]) -> Sequence[nn.Module]:
        """The network's children without the head."""
        from shiftsearch.model.own_network import given

        return self.build(given(self.source).classes, image_size)[0]

    def build(
        self, classes: int, image_size: tuple[int, int]
    ) -> tuple[Sequence[nn.Module], nn.Module]:
        """The children of what the function returns; the last one is the head."""
        from shiftsearch.model.own_network import given

        *layers, head = given(self.source).function(classes, image_size).children()
        return layers, head

    @property
    def description(self) -> str:
        """The function's name."""
        return f"the own network {self.source.partition('@')[0]}"


REFERENCE = ThreeBlocks()
"""The published network."""

ARCHITECTURES: Mapping[str, type[Architecture]] = {
    "three blocks": ThreeBlocks,
    "blocks": Blocks,
    "own": Own,
}
"""Architectures by name; each can be made without arguments."""
