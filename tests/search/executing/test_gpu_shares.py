"""A share of a GPU follows from the memory of one trial and from the CPUs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shiftsearch.model.gpu_memory import Need
from shiftsearch.search.executing.gpu_shares import MARGIN, larger, part, share_for
from shiftsearch.search.executing.resources import Node, fit_resources

pytestmark = pytest.mark.integration

GIB = 2**30
H200 = Need(int(220e6), int(740e6), 143 * GIB)
SMALL = Need(int(2 / MARGIN * GIB), GIB, 8 * GIB)
"""3 of 8 GiB with the margin."""


@pytest.mark.parametrize(
    ("needs", "nodes", "cpus", "count"),
    [
        ([H200], [Node(16.0, 1.0)], 1.0, 16),
        ([H200], [Node(16.0, 1.0)], 2.0, 8),
        ([H200], [Node(16.0, 8.0)], 1.0, 2),
        ([H200], [Node(4.0, 8.0)], 1.0, 1),
        ([H200], [Node(999.0, 1.0)], 1.0, 151),
        ([SMALL], [Node(16.0, 1.0)], 1.0, 2),
        ([H200, SMALL], [Node(16.0, 1.0), Node(16.0, 1.0)], 1.0, 2),
        ([H200], [Node(4.0, 1.0), Node(8.0, 1.0), Node(64.0, 0.0)], 1.0, 8),
        ([Need(8 * GIB, 0, 8 * GIB)], [Node(16.0, 1.0)], 1.0, 1),
        ([], [Node(16.0, 1.0)], 1.0, 1),
    ],
)
def test_as_many_as_memory_and_cpus_serve(
    needs: Sequence[Need], nodes: Sequence[Node], cpus: float, count: int
) -> None:
    share, reason = share_for(needs, nodes, cpus)
    assert share == part(count)
    assert "\n" not in reason
    assert ("the CPUs serve" in reason) is (needs == [H200] and count != 151)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 9, 16, 30, 48, 64, 99])
@pytest.mark.parametrize("gpus", [1, 2, 8])
def test_so_many_shares_fill_a_gpu_as_ray_counts(count: int, gpus: int) -> None:
    """Ray keeps four decimals; so many of them are at most 1, and one more would be above."""
    share = part(count)
    assert share == round(share, 4)
    assert count * share <= 1 < (count + 1) * share
    found = fit_resources([Node(9999.0, float(gpus))], 1.0, share, None, 9999)
    assert found.concurrency == count * gpus


@pytest.mark.parametrize("share", [0.0101, 0.0625, 0.1428, 0.2, 0.3, 0.3333, 0.5, 0.9])
def test_shares_grow_to_a_whole_gpu_in_few_steps(share: float) -> None:
    steps, now = 0, larger(share)
    while now is not None:
        assert now >= 1.5 * share or now == 1
        share, steps, now = now, steps + 1, larger(now)
    assert share == 1
    assert steps <= 6
