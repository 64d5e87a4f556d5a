"""Batch normalisation, 2x2 max-pooling and ReLU of a block in one pass over memory, on a CPU.

The three are bound by memory, not arithmetic, and run as four kernels each way over tensors that
leave the cache. Here the forward pass reads the convolution's output twice (statistics, then
everything else) and the backward pass reads it twice and writes its gradient once. The loops are
in `model.kernels`; `model.network.Block` without `fuse` is the slow twin.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from shiftsearch.model import kernels


def _array(tensor: Tensor) -> Any:
    """[N, C, H, W] in channels_last, or [C], as a NumPy view [N, H, W, C] or [C]."""
    view = tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor
    return (view.view(torch.uint16) if view.dtype == torch.bfloat16 else view).numpy()


class _Trained(torch.autograd.Function):
    """The fused pass in training, with the batch's own statistics."""

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
    ) -> Tensor:
        """The block's output, and what `backward` needs, kept in `ctx`.

        Args:
            ctx: the autograd context.
            z: [N, C, H, W] float32 or bfloat16, channels_last.
            weight, bias: [C] float32, parameters of the normalisation.
            mean, variance: [C] float32, statistics of z; the variance is biased, at least 0.
            eps: added to the variance, above 0.

        Returns:
            [N, C, H // 2, W // 2] of z's dtype, channels_last.
        """
        scale = weight * torch.rsqrt(variance + eps)
        out, index, picked = _apply(z, scale, bias - mean * scale)
        ctx.save_for_backward(z, mean, variance, scale, index, picked)
        ctx.eps = eps
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Gradients of the inputs of `forward`, also through the batch's statistics.

        Args:
            ctx: as `forward` left it.
            gradient: the output's gradient, [N, C, H // 2, W // 2] of z's dtype.

        Returns:
            The gradients of z (its shape and dtype), weight and bias ([C] float32); None for the
            rest.
        """
        z, mean, variance, scale, index, picked = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        channels, count = z.shape[1], z.numel() // z.shape[1]
        by_shift = torch.empty(channels, dtype=torch.float64)
        by_z = torch.empty(channels, dtype=torch.float64)
        g, at, zs = _array(gradient), _array(index), _array(z)
        kernels.sums[z.dtype](_array(picked), at, g, by_shift.numpy(), by_z.numpy())
        spread = torch.rsqrt(variance.double() + ctx.eps)
        by_weight = (by_z - mean.double() * by_shift) * spread
        slope = -scale.double() * spread * by_weight / count
        offset = -scale.double() * by_shift / count - slope * mean.double()
        out = torch.empty_like(z)
        kernels.backward[z.dtype](
            zs, at, g, scale.numpy(), slope.float().numpy(), offset.float().numpy(), _array(out)
        )
        return out, by_weight.float(), by_shift.float(), None, None, None


def _apply(z: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n, channels, height, width = z.shape
    like = {"memory_format": torch.channels_last}
    out = torch.empty((n, channels, height // 2, width // 2), dtype=z.dtype, **like)  # type: ignore[call-overload]
    index = torch.empty(out.shape, dtype=torch.uint8, **like)  # type: ignore[call-overload]
    picked = torch.empty_like(out)
    arrays = (_array(t) for t in (out, index, picked))
    kernels.forward[z.dtype](_array(z), scale.numpy(), shift.numpy(), *arrays)
    return out, index, picked


def normalise_pool_relu(z: Tensor, normalisation: nn.BatchNorm2d) -> Tensor:
    """relu(max_pool2d(normalisation(z), 2)); running statistics are updated as torch does.

    Args:
        z: [N, C, H, W] float32 or bfloat16 on the CPU, channels_last.
        normalisation: affine, with running statistics and a momentum; in training or evaluation.

    Returns:
        [N, C, H // 2, W // 2] of z's dtype, channels_last.
    """
    z = z.contiguous(memory_format=torch.channels_last)
    bn = normalisation
    weight, bias = bn.weight, bn.bias
    running_mean, running_variance = bn.running_mean, bn.running_var
    if running_mean is None or running_variance is None or bn.momentum is None:
        raise ValueError("normalisation must keep running statistics with a momentum")
    if not bn.training:
        if torch.is_grad_enabled() and (z.requires_grad or weight.requires_grad):
            raise ValueError("normalisation in evaluation has no gradient here; freeze its input")
        scale = weight.detach() * torch.rsqrt(running_variance + bn.eps)
        return _apply(z.detach(), scale, bias.detach() - running_mean * scale)[0]
    channels, count = z.shape[1], z.numel() // z.shape[1]
    if count == 1:
        raise ValueError(f"z has shape {tuple(z.shape)}: one value per channel has no variance")
    mean, variance = torch.empty(channels), torch.empty(channels)
    with torch.no_grad():
        kernels.moments[z.dtype](_array(z.detach()), mean.numpy(), variance.numpy())
        running_mean.lerp_(mean, bn.momentum)
        running_variance.lerp_(variance * (count / (count - 1)), bn.momentum)
        if bn.num_batches_tracked is not None:
            bn.num_batches_tracked += 1
    out: Tensor = _Trained.apply(z, weight, bias, mean, variance, bn.eps)  # type: ignore[no-untyped-call]
    return out
