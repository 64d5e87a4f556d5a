"""The memory of a share of a GPU, with `torch.cuda` pretended: none of this ran on a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from shiftsearch.model.gpu_memory import CONTEXT_BYTES, Need, bound, measured

pytestmark = pytest.mark.unit

GIB = 2**30


class Cuda:
    """Stands for `torch.cuda`: an allocator that keeps what it once took."""

    def __init__(self, total: int, outside: int) -> None:
        self.total, self.outside = total, outside
        self.reserved = self.peak = 0
        self.fraction = 1.0

    def take(self, size: int) -> None:
        if size + self.outside > self.total:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.reserved, self.peak = size, max(self.peak, size)

    def empty_cache(self) -> None:
        self.reserved = 0

    def reset_peak_memory_stats(self) -> None:
        self.peak = self.reserved

    def mem_get_info(self) -> tuple[int, int]:
        return self.total - self.outside - self.reserved, self.total

    def memory_reserved(self) -> int:
        return self.reserved

    def max_memory_reserved(self) -> int:
        return self.peak

    def set_per_process_memory_fraction(self, fraction: float) -> None:
        self.fraction = fraction


def test_the_peak_of_the_training_counts_and_what_was_before_does_not() -> None:
    cuda = Cuda(16 * GIB, outside=GIB)
    cuda.take(9 * GIB)

    def train() -> None:
        cuda.take(3 * GIB)
        cuda.take(2 * GIB)

    assert measured(train, cuda) == Need(3 * GIB, GIB, 16 * GIB)
    cuda.outside = 0
    assert measured(train, cuda) == Need(3 * GIB, CONTEXT_BYTES, 16 * GIB)


def test_a_training_that_does_not_fit_takes_all() -> None:
    cuda = Cuda(4 * GIB, outside=GIB)
    assert measured(lambda: cuda.take(4 * GIB), cuda) == Need(4 * GIB, 0, 4 * GIB)


@pytest.mark.parametrize(
    ("share", "tensors"),
    [
        (1.0, None),
        (2.0, None),
        (0.5, 8 * GIB - CONTEXT_BYTES),
        (0.25, 4 * GIB - CONTEXT_BYTES),
        (0.0625, GIB / 2),  # less than the context leaves half
    ],
)
def test_tensors_are_bounded_to_what_the_share_leaves_beside_the_context(
    share: float, tensors: Any
) -> None:
    cuda = Cuda(16 * GIB, outside=GIB)
    fraction = bound(share, cuda)
    assert cuda.fraction == fraction
    assert fraction * 16 * GIB == pytest.approx(16 * GIB if tensors is None else tensors)


def test_torch_has_what_is_pretended() -> None:
    """The names, where torch is built without CUDA, too."""
    assert [name for name in vars(Cuda) if name != "take" and not name.startswith("_")] == [
        name for name in vars(Cuda) if hasattr(torch.cuda, name) and not name.startswith("_")
    ]
