"""The memory of a GPU that processes share: what one trial takes, and the bound of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

CONTEXT_BYTES = 800 * 2**20
"""What CUDA and torch's kernels take in each process besides its tensors; 740 MB on an H200 with
torch 2.11."""


class Need(NamedTuple):
    """The memory that a trial took on a GPU, in bytes.

    Attributes:
        tensors: the most that torch kept for tensors.
        context: what the process takes besides, at least `CONTEXT_BYTES`. What processes outside
            Ray took counts too, since CUDA cannot tell them apart.
        total: of the whole GPU.
    """

    tensors: int
    context: int
    total: int


def measured(train: Callable[[], None], cuda: Any = torch.cuda) -> Need:
    """The memory that a training takes on this process's GPU; all of it if that is too little.

    Args:
        train: does the training.
        cuda: `torch.cuda`, or what stands for it in a test.
    """
    cuda.empty_cache()
    cuda.reset_peak_memory_stats()
    try:
        train()
    except torch.OutOfMemoryError:
        total = cuda.mem_get_info()[1]
        return Need(total, 0, total)
    free, total = cuda.mem_get_info()
    context = max(CONTEXT_BYTES, total - free - cuda.memory_reserved())
    return Need(cuda.max_memory_reserved(), context, total)


def bound(share: float, cuda: Any = torch.cuda) -> float:
    """Bound this process's tensors to its share of the GPU; returns the fraction they may take.

    What a process takes besides its tensors is part of its share, but at most half of it: a share
    that is smaller than that must still be able to begin, and then runs out of memory by itself.

    Args:
        share: in 0..1; from 1 on nothing is bounded.
        cuda: `torch.cuda`, or what stands for it in a test.
    """
    if share >= 1:
        return 1.0
    besides: float = CONTEXT_BYTES / cuda.mem_get_info()[1]
    fraction = max(share - besides, share / 2)
    cuda.set_per_process_memory_fraction(fraction)
    return fraction
