"""What a block may have besides its own layers: attention over its channels, and a shortcut."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812, the field's name
from torch import Tensor, nn

REDUCTION = 8
"""Channels of a block per hidden unit of its attention. The paper has 16, which would leave two
units for the 32 filters of the first block."""


class SqueezeExcitation(nn.Module):
    """A block whose output channels are weighted by what the whole image holds.

    Squeeze-and-excitation (Hu et al. 2018, arXiv 1709.01507, section 3): the mean of each channel,
    two dense layers, and a sigmoid give a factor in 0..1 for each channel. Self-attention was not
    taken. It compares every place of a map with every other, but of a 28x28 image each place of
    the third block sees 22x22 pixels already, and the dense layer sees all. It also has to learn
    from few images where the places are. Squeeze-and-excitation adds less than 1 % to the
    multiply-adds of a block.

    Args:
        block: [N, inputs, H, W] to [N, channels, h, w].
        channels: the block's output channels.
    """

    def __init__(self, block: nn.Module, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.block = block
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, channels, h, w]."""
        y: Tensor = self.block(x)
        factors: Tensor = self.excite(F.relu(self.squeeze(y.mean((2, 3))))).sigmoid()
        return y * factors[:, :, None, None]


class Residual(nn.Module):
    """A block with a shortcut: the pooled input, projected to the block's channels, is added.

    Deep residual learning (He et al. 2015, arXiv 1512.03385, section 3.3: a 1x1 projection where
    channels change, as they do in every block). The pooling is the mean of 2x2 pixels before the
    projection (He et al. 2018, arXiv 1812.01187, section 4.2). The shortcut is added after the
    block's ReLU (He et al. 2016, arXiv 1603.05027). Before it, a block with one convolution would
    stay what it is, because the sum of two convolutions is a convolution.

    Args:
        block: [N, inputs, H, W] to [N, outputs, H // 2, W // 2].
        inputs, outputs: the block's channels.
    """

    def __init__(self, block: nn.Module, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = block
        self.projection = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H // 2, W // 2]."""
        output: Tensor = self.block(x) + self.projection(F.avg_pool2d(x, 2))
        return output
