"""The points of a scrambled Sobol sequence, each by its number.

They are those of `scipy.stats.qmc.Sobol`, whose import takes a second of processor time at the
start of every search. Source: Sobol 1967; direction numbers of Joe and Kuo 2008, doi
10.1137/070709359, from PyTorch; scrambled after Matousek 1998, doi 10.1006/jcom.1998.0489.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

_BITS = 30


def scrambled_point(dimensions: int, seed: int, number: int) -> NDArray[np.float64]:
    """Point `number` of the sequence that `seed` scrambles: [dimensions], in 0..1, 1 excluded.

    Args:
        dimensions: at least 1.
        seed: of the scrambling, at least 0.
        number: from 0 to 2 ** 30 - 1.
    """
    shift, directions = _scrambled(dimensions, seed)
    gray = number ^ number >> 1
    used = [bit for bit in range(_BITS) if gray >> bit & 1]
    drawn: NDArray[np.int64] = np.bitwise_xor.reduce(directions[:, used], axis=1, initial=0)
    point: NDArray[np.float64] = (drawn ^ shift) / 2**_BITS
    return point


@functools.lru_cache(maxsize=8)
def _scrambled(dimensions: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The digital shift, [dimensions], and the direction numbers, [dimensions, bits]."""
    from torch.quasirandom import SobolEngine  # late: to read a study takes no torch

    weights = 1 << np.arange(_BITS, dtype=np.int64)
    rng, size = np.random.default_rng(seed).spawn(1)[0], (dimensions, _BITS, _BITS)
    shift = rng.integers(2, size=size[:2], dtype=np.uint32) @ weights
    # Of each direction number, the bits are multiplied by a lower triangle with ones on its
    # diagonal, the highest bit first.
    triangles = np.tril(rng.integers(2, size=size, dtype=np.uint32), -1) + np.eye(_BITS, dtype=int)
    plain: NDArray[np.int64] = SobolEngine(dimensions).sobolstate.numpy()  # type: ignore[no-untyped-call]
    bits = plain[:, None] >> np.arange(_BITS)[::-1, None] & 1
    return shift, weights[::-1] @ (triangles @ bits % 2)
