"""Batch normalisation, 2x2 max-pooling and ReLU of a block in one pass over memory, on a CPU.

The three are bound by memory, not arithmetic, and run as four kernels each way over tensors that
leave the cache. Here the forward pass reads the convolution's output twice (statistics, then
everything else) and the backward pass reads it twice and writes its gradient once. The kernels
are Numba's, compiled once per installation and cached; `model.network.Block` is the slow twin.

Layout: [N, C, H, W] in channels_last, so that the innermost loop runs over channels; bfloat16 is
read as uint16, because Numba has no such type, and widened by a shift (a bfloat16 is the upper
half of a float32).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload
from torch import Tensor, nn


@intrinsic  # type: ignore[untyped-decorator]
def _as_float(context: Any, bits: Any) -> Any:
    """The float32 of a uint32's bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic  # type: ignore[untyped-decorator]
def _as_bits(context: Any, value: Any) -> Any:
    """The bits of a float32 as uint32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


def _load(row: Any, c: int) -> Any:  # the Python side of an overload is never run
    raise NotImplementedError


@overload(_load, strict=False)  # type: ignore[untyped-decorator]
def _load_overload(row: Any, c: Any) -> Callable[..., Any]:
    if row.dtype == types.uint16:
        return lambda row, c: _as_float(np.uint32(np.uint32(row[c]) << np.uint32(16)))
    return lambda row, c: row[c]


def _save(row: Any, c: int, value: Any) -> None:
    raise NotImplementedError


@overload(_save, strict=False)  # type: ignore[untyped-decorator]
def _save_overload(row: Any, c: Any, value: Any) -> Callable[..., Any]:
    if row.dtype == types.uint16:

        def save(row: Any, c: Any, value: Any) -> None:
            bits = _as_bits(np.float32(value))
            # To nearest, ties to even, as torch does.
            bits += np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
            row[c] = np.uint16(bits >> np.uint32(16))

        return save

    def keep(row: Any, c: Any, value: Any) -> None:
        row[c] = value

    return keep


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})  # type: ignore[untyped-decorator]
def _moments(z: Any, mean: Any, variance: Any) -> None:
    """Mean and biased variance per channel of z [N, H, W, C]; float64 over images."""
    n, h, w, channels = z.shape
    total, squares = np.zeros(channels), np.zeros(channels)
    part, square = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for i in range(n):
        part[:] = 0
        square[:] = 0
        for y in range(h):
            for x in range(w):
                row = z[i, y, x]
                for c in range(channels):
                    v = _load(row, c)
                    part[c] += v
                    square[c] += v * v
        for c in range(channels):
            total[c] += part[c]
            squares[c] += square[c]
    count = n * h * w
    for c in range(channels):
        m = total[c] / count
        mean[c] = m
        variance[c] = max(squares[c] / count - m * m, 0.0)


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})  # type: ignore[untyped-decorator]
def _forward(z: Any, scale: Any, shift: Any, out: Any, index: Any, picked: Any) -> None:
    """To `out`, relu(maxpool(z * scale + shift)); index: which of four, or 4; picked: its z."""
    n, h, w, channels = out.shape
    for i in range(n):
        for y in range(h):
            for x in range(w):
                a, b = z[i, 2 * y, 2 * x], z[i, 2 * y, 2 * x + 1]
                d, e = z[i, 2 * y + 1, 2 * x], z[i, 2 * y + 1, 2 * x + 1]
                to, at, pick = out[i, y, x], index[i, y, x], picked[i, y, x]
                for c in range(channels):
                    s, t = scale[c], shift[c]
                    # All loaded, then chosen from: a load under a condition is not vectorised.
                    za, zb, zd, ze = _load(a, c), _load(b, c), _load(d, c), _load(e, c)
                    va, vb, vd, ve = za * s + t, zb * s + t, zd * s + t, ze * s + t
                    right, far = vb > va, ve > vd
                    v, u = vb if right else va, ve if far else vd
                    zv, zu = zb if right else za, ze if far else zd
                    k = np.uint8(1) if right else np.uint8(0)
                    j = np.uint8(3) if far else np.uint8(2)
                    lower = u > v
                    v, zv, k = (u, zu, j) if lower else (v, zv, k)
                    at[c] = k if v > np.float32(0) else np.uint8(4)
                    _save(pick, c, zv)
                    # NaN must stay NaN, or divergence would go unseen.
                    v = np.float32(0) if v <= np.float32(0) else v
                    _save(to, c, v)


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})  # type: ignore[untyped-decorator]
def _sums(picked: Any, index: Any, gradient: Any, by_shift: Any, by_z: Any) -> None:
    """Per channel, over pooled places that pass: sum of gradient, and of gradient times z."""
    n, h, w, channels = gradient.shape
    part, product = np.empty(channels, np.float32), np.empty(channels, np.float32)
    by_shift[:] = 0
    by_z[:] = 0
    for i in range(n):
        part[:] = 0
        product[:] = 0
        for y in range(h):
            for x in range(w):
                row, up, at = picked[i, y, x], gradient[i, y, x], index[i, y, x]
                for c in range(channels):
                    g = _load(up, c)
                    g = np.float32(0) if at[c] == np.uint8(4) else g
                    part[c] += g
                    product[c] += g * _load(row, c)
        for c in range(channels):
            by_shift[c] += part[c]
            by_z[c] += product[c]


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})  # type: ignore[untyped-decorator]
def _backward(
    z: Any, index: Any, gradient: Any, scale: Any, slope: Any, offset: Any, out: Any
) -> None:
    """To `out`, scale * unpooled gradient + slope * z + offset, all per channel."""
    n, h, w, channels = z.shape
    for i in range(n):
        for y in range(h // 2):
            for x in range(w // 2):
                up, at = gradient[i, y, x], index[i, y, x]
                for place in range(4):
                    row = z[i, 2 * y + place // 2, 2 * x + place % 2]
                    to = out[i, 2 * y + place // 2, 2 * x + place % 2]
                    for c in range(channels):
                        g = _load(up, c)
                        g = g if at[c] == np.uint8(place) else np.float32(0)
                        _save(to, c, scale[c] * g + slope[c] * _load(row, c) + offset[c])
        # An odd row or column that pooling leaves out.
        for y in range(h):
            for x in range(2 * (w // 2) if y < 2 * (h // 2) else 0, w):
                row, to = z[i, y, x], out[i, y, x]
                for c in range(channels):
                    _save(to, c, slope[c] * _load(row, c) + offset[c])


def _array(tensor: Tensor) -> Any:
    """[N, C, H, W] in channels_last, or [C], as a NumPy view [N, H, W, C] or [C]."""
    view = tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor
    return (view.view(torch.uint16) if view.dtype == torch.bfloat16 else view).numpy()


class _Trained(torch.autograd.Function):
    """With the batch's own statistics."""

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
        scale = weight * torch.rsqrt(variance + eps)
        out, index, picked = _apply(z, scale, bias - mean * scale)
        ctx.save_for_backward(z, mean, variance, scale, index, picked)
        ctx.eps = eps
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        z, mean, variance, scale, index, picked = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        channels, count = z.shape[1], z.numel() // z.shape[1]
        by_shift = torch.empty(channels, dtype=torch.float64)
        by_z = torch.empty(channels, dtype=torch.float64)
        g, at, zs = _array(gradient), _array(index), _array(z)
        _sums(_array(picked), at, g, by_shift.numpy(), by_z.numpy())
        spread = torch.rsqrt(variance.double() + ctx.eps)
        by_weight = (by_z - mean.double() * by_shift) * spread
        slope = -scale.double() * spread * by_weight / count
        offset = -scale.double() * by_shift / count - slope * mean.double()
        out = torch.empty_like(z)
        _backward(
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
    _forward(_array(z), scale.numpy(), shift.numpy(), *arrays)
    return out, index, picked


def normalise_pool_relu(z: Tensor, normalisation: nn.BatchNorm2d) -> Tensor:
    """relu(max_pool2d(normalisation(z), 2)), running statistics kept as torch keeps them.

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
        scale = weight.detach() * torch.rsqrt(running_variance + bn.eps)
        if torch.is_grad_enabled() and z.requires_grad:
            raise ValueError("normalisation in evaluation has no gradient here; freeze its input")
        return _apply(z.detach(), scale, bias.detach() - running_mean * scale)[0]
    channels, count = z.shape[1], z.numel() // z.shape[1]
    mean, variance = torch.empty(channels), torch.empty(channels)
    with torch.no_grad():
        _moments(_array(z.detach()), mean.numpy(), variance.numpy())
        running_mean.lerp_(mean, bn.momentum)
        running_variance.lerp_(variance * (count / (count - 1)), bn.momentum)
        if bn.num_batches_tracked is not None:
            bn.num_batches_tracked += 1
    out: Tensor = _Trained.apply(z, weight, bias, mean, variance, bn.eps)  # type: ignore[no-untyped-call]
    return out
