"""Networks: the layers of an architecture, dropout, and a head with one output per class.

Three choices make it faster and leave the function as it is (images per second on one core, batch
64): pooling comes before ReLU, which gives the same because both are monotone (2,025 to 2,281,
another processor); a convolution followed by batch normalisation has no bias (2,281 to 2,967); on
a CPU the rest of a block runs in one pass over memory, see `model.fused`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812, the field's name
from torch import Tensor, nn

from shiftsearch.model.architecture import REFERENCE, Architecture


class SeededDropout(nn.Module):
    """Dropout that draws from a given generator, never from the global one.

    Attributes:
        probability: probability of zeroing an element, in [0, 1).
        generator: on the input's device; must be set before training with probability > 0.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[...] floating to the same shape and dtype."""
        if not self.training or self.probability == 0:
            return x
        if self.generator is None:
            raise RuntimeError("SeededDropout.generator is None; set it before training")
        # Five times as fast as bernoulli_, whose draws are made one by one.
        draws = torch.rand(x.shape, generator=self.generator, device=x.device)
        return x * ((draws >= self.probability) * (1 / (1 - self.probability))).to(x.dtype)


class Block(nn.Module):
    """Convolution, batch normalisation, 2x2 max-pooling, ReLU.

    Args:
        inputs, outputs: channels.
        kernel: side of the convolution in pixels, odd.

    Attributes:
        fused: the function that computes the last three in one pass; None computes them one after
            the other. See `Network.fuse`.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.normalisation = nn.BatchNorm2d(outputs)
        self.fused: Callable[[Tensor, nn.BatchNorm2d], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H // 2, W // 2]."""
        z = self.convolution(x)
        # In evaluation the fused pass has no gradient.
        if self.fused is not None and (self.training or not z.requires_grad):
            return self.fused(z, self.normalisation)
        return F.relu(F.max_pool2d(self.normalisation(z), 2))


class Dense(nn.Module):
    """Fully connected layer and ReLU, over flattened features."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, outputs]."""
        return F.relu(self.linear(x.flatten(1)))


class Network(nn.Module):
    """[N, 1, H, W] images in 0..1 to [N, classes] logits.

    Args:
        classes: number of outputs, at least 2.
        image_size: (H, W) in pixels, each at least the architecture's `least_side`.
        dropout: dropout probability before the head, in [0, 1).
        architecture: the layers before the head.

    Attributes:
        architecture: as given.
        layers: the modules that can be frozen, in the order of the architecture's `layer_names`.
    """

    def __init__(
        self,
        classes: int,
        image_size: tuple[int, int],
        dropout: float = 0.5,
        architecture: Architecture = REFERENCE,
    ) -> None:
        super().__init__()
        least = architecture.least_side
        if min(image_size) < least:
            raise ValueError(f"image_size is {image_size}, but both sides must be >= {least}")
        self.architecture, self._made_for = architecture, (classes, image_size)
        layers, head = architecture.build(classes, image_size)
        # In this order, in which initial weights are drawn.
        self.layers = nn.Sequential(*layers)
        self.dropout = SeededDropout(dropout)
        self.head = head

    def fuse(self) -> None:
        """Compute normalisation, pooling and ReLU of each block in one pass, see `model.fused`.

        It works on one thread of a CPU; the result is the same up to rounding.
        """
        from shiftsearch.model.fused import (
            normalise_pool_relu,  # its compiler takes 0.3 s to import
        )

        for module in self.modules():
            if isinstance(module, Block):
                module.fused = normalise_pool_relu

    def forward(self, images: Tensor) -> Tensor:
        """[N, 1, H, W] floating in 0..1 to [N, classes] logits."""
        return self.finish(self.begin(images, 0), 0)

    def begin(self, images: Tensor, count: int) -> Tensor:
        """The output of the first `count` of `layers`; the images themselves for 0."""
        return self.layers[:count](images)  # type: ignore[no-any-return]

    def finish(self, features: Tensor, count: int) -> Tensor:
        """From the output of the first `count` of `layers` to [N, classes] logits."""
        return self.head(self.dropout(self.layers[count:](features)))  # type: ignore[no-any-return]


def allocate(
    classes: int,
    image_size: tuple[int, int],
    dropout: float = 0.5,
    architecture: Architecture = REFERENCE,
) -> Network:
    """The network on the CPU with weights that mean nothing.

    The constructor would spend time on initial weights and draw them from torch's global
    generator.
    """
    network = sketch(classes, image_size, dropout, architecture)
    if not architecture.draws_weights:
        # Not `to_empty`, whose first use in a process imports torch's compiler.
        empty = {k: torch.empty(t.shape, dtype=t.dtype) for k, t in network.state_dict().items()}
        network.load_state_dict(empty, assign=True)
    return network


def sketch(
    classes: int, image_size: tuple[int, int], dropout: float, architecture: Architecture
) -> Network:
    """The network without memory: its tensors have only names, shapes and dtypes.

    One that draws its weights is on the CPU with memory, because it may hold more than weights.
    """
    if architecture.draws_weights:
        return _drawn(classes, image_size, dropout, architecture, torch.Generator())
    with torch.device("meta"):
        return Network(classes, image_size, dropout, architecture)


def _drawn(
    classes: int,
    image_size: tuple[int, int],
    dropout: float,
    architecture: Architecture,
    generator: torch.Generator,
) -> Network:
    """The network as its constructor leaves it, with draws that depend only on the generator."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Network(classes, image_size, dropout, architecture)


def initialise(network: Network, generator: torch.Generator) -> None:
    """Draw all weights anew, with the scale of torch's defaults: uniform in +-1 / sqrt(fan-in).

    The draws depend only on the generator. Batch normalisation starts as the identity. A network
    that draws its weights has those that it draws.

    Args:
        network: changed in place; it must be on the CPU, so that all devices start alike.
        generator: a CPU generator.
    """
    architecture = network.architecture
    if architecture.draws_weights:
        dropout = network.dropout.probability
        drawn = _drawn(*network._made_for, dropout, architecture, generator)
        network.load_state_dict(drawn.state_dict())
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            bound = fan_in**-0.5
            with torch.no_grad():
                module.weight.uniform_(-bound, bound, generator=generator)
                if module.bias is not None:
                    module.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
