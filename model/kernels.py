"""The loops of `model.fused`, compiled by Numba.

Arrays are [N, H, W, C], so that the innermost loop runs over channels. bfloat16 is read as uint16,
because Numba has no such type, and widened by a shift (a bfloat16 is the upper half of a float32).

A kernel is compiled at its first call; the four of a dtype take 2.3 s on one core of an AMD EPYC,
once per installation, processor model and version of this file. Later processes load them from
Numba's cache in 0.5 s. The cache is in NUMBA_CACHE_DIR if that is set, else in `__pycache__`
beside this file, else (a read-only installation) in the user's cache folder. If none can be
written, every process compiles for itself. Numba replaces cache files in one step, so two
processes may compile at the same time. Machines with different processors that share one
installation should each set NUMBA_CACHE_DIR to their own folder. Cache files hold this module's
name and are discarded when this file changes, so if the module is renamed, its content must be
changed too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload


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


def _load(row: Any, c: int) -> Any:
    """A channel's value as float32, by torch; in compiled code `_load_overload` takes its place.

    Args:
        row: [C] float32, or uint16 that holds bfloat16.
        c: channel.
    """
    if row.dtype == np.uint16:
        return np.float32(torch.tensor(row[c]).view(torch.bfloat16).item())
    return row[c]


@overload(_load, strict=False)  # type: ignore[untyped-decorator]
def _load_overload(row: Any, c: Any) -> Callable[..., Any]:
    if row.dtype == types.uint16:
        return lambda row, c: _as_float(np.uint32(np.uint32(row[c]) << np.uint32(16)))
    return lambda row, c: row[c]


def _save(row: Any, c: int, value: Any) -> None:
    """Set a channel, rounded as torch rounds; in compiled code `_save_overload` takes its place.

    Args:
        row: [C] float32, or uint16 that holds bfloat16; changed.
        c: channel.
        value: float32.
    """
    if row.dtype == np.uint16:
        value = torch.tensor(value, dtype=torch.bfloat16).view(torch.uint16).item()
    row[c] = value


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


def _kernel(function: Callable[..., None]) -> dict[torch.dtype, Any]:
    """The kernel for z's dtype, compiled at its first call and cached if Numba finds a folder.

    Each dtype has its own cache file, because processes that write one file at once could mix up
    its entries.
    """
    kernels = {}
    for dtype in (torch.float32, torch.bfloat16):
        copy = FunctionType(function.__code__, function.__globals__)
        copy.__qualname__ = f"{function.__qualname__}_{dtype}"
        kernel = numba.njit(nogil=True, fastmath={"contract", "reassoc", "nsz"})(copy)
        with contextlib.suppress(RuntimeError):  # no folder can be written
            kernel.enable_caching()
        kernels[dtype] = kernel
    return kernels


@_kernel
def moments(z: Any, mean: Any, variance: Any) -> None:
    """Mean and biased variance per channel of z [N, H, W, C]; float64 over images."""
    n, h, w, channels = z.shape
    # Squares are taken around one of the values: around 0, a far mean would swallow the variance.
    near = np.empty(channels, np.float32)
    for c in range(channels):
        near[c] = _load(z[0, h // 2, w // 2], c)
    total, squares = np.zeros(channels), np.zeros(channels)
    part, square = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for i in range(n):
        part[:] = 0
        square[:] = 0
        for y in range(h):
            for x in range(w):
                row = z[i, y, x]
                for c in range(channels):
                    v = _load(row, c) - near[c]
                    part[c] += v
                    square[c] += v * v
        for c in range(channels):
            total[c] += part[c]
            squares[c] += square[c]
    count = n * h * w
    for c in range(channels):
        m = total[c] / count
        v = squares[c] / count - m * m
        mean[c] = near[c] + m
        variance[c] = 0.0 if v < 0.0 else v  # NaN stays NaN, which max() would not promise


@_kernel
def forward(z: Any, scale: Any, shift: Any, out: Any, index: Any, picked: Any) -> None:
    """Write relu(maxpool(z * scale + shift)) to `out`.

    `index` gets the position of the maximum among the four, or 4 if ReLU gives 0; `picked` gets
    its z.
    """
    n, h, w, channels = out.shape
    for i in range(n):
        for y in range(h):
            for x in range(w):
                a, b = z[i, 2 * y, 2 * x], z[i, 2 * y, 2 * x + 1]
                d, e = z[i, 2 * y + 1, 2 * x], z[i, 2 * y + 1, 2 * x + 1]
                to, at, pick = out[i, y, x], index[i, y, x], picked[i, y, x]
                for c in range(channels):
                    s, t = scale[c], shift[c]
                    # All four are loaded first: a load under a condition is not vectorised.
                    za, zb, zd, ze = _load(a, c), _load(b, c), _load(d, c), _load(e, c)
                    va, vb, vd, ve = za * s + t, zb * s + t, zd * s + t, ze * s + t
                    # NaN is picked, as in torch, so that divergence is seen.
                    right, far = (vb > va) | (vb != vb), (ve > vd) | (ve != ve)
                    v, u = vb if right else va, ve if far else vd
                    zv, zu = zb if right else za, ze if far else zd
                    k = np.uint8(1) if right else np.uint8(0)
                    j = np.uint8(3) if far else np.uint8(2)
                    lower = (u > v) | (u != u)
                    v, zv, k = (u, zu, j) if lower else (v, zv, k)
                    at[c] = np.uint8(4) if v <= np.float32(0) else k
                    _save(pick, c, zv)
                    v = np.float32(0) if v <= np.float32(0) else v
                    _save(to, c, v)


@_kernel
def sums(picked: Any, index: Any, gradient: Any, by_shift: Any, by_z: Any) -> None:
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


@_kernel
def backward(
    z: Any, index: Any, gradient: Any, scale: Any, slope: Any, offset: Any, out: Any
) -> None:
    """Write scale * unpooled gradient + slope * z + offset to `out`, all per channel."""
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
