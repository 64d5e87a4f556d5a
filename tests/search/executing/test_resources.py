"""Resources per trial and how many run at once: chosen with a reason, or refused in one line."""

from __future__ import annotations

import pytest

from shiftsearch.search.executing.resources import Node, ResourceError, fit_resources

pytestmark = pytest.mark.integration

LAPTOP = [Node(8.0, 0.0)]


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "limit", "jobs", "expected"),
    [
        (LAPTOP, None, None, None, 20, (1.0, 0.0, 8)),
        (LAPTOP, None, None, None, 3, (1.0, 0.0, 3)),
        (LAPTOP, None, None, 4, 20, (1.0, 0.0, 4)),
        (LAPTOP, None, None, 99, 20, (1.0, 0.0, 8)),
        (LAPTOP, 0.1, None, None, 100, (0.1, 0.0, 80)),
        (LAPTOP, 3.0, None, None, 20, (3.0, 0.0, 2)),
        ([Node(16.0, 2.0)], None, None, None, 20, (1.0, 1.0, 2)),
        ([Node(16.0, 2.0)], None, 0.25, None, 20, (1.0, 0.25, 8)),
        ([Node(16.0, 2.0)], 4.0, 0.25, None, 20, (4.0, 0.25, 4)),
        ([Node(16.0, 2.0)], None, 0.0, None, 20, (1.0, 0.0, 16)),
        ([Node(99.0, 8.0)], None, 0.4, None, 99, (1.0, 0.4, 16)),  # not 8 / 0.4
        ([Node(99.0, 8.0)], None, 0.3333, None, 99, (1.0, 0.3333, 24)),
        ([Node(99.0, 8.0)], None, 3.0, None, 99, (1.0, 3.0, 2)),
        ([Node(3.0, 0.0), Node(3.0, 0.0)], 2.0, None, None, 20, (2.0, 0.0, 2)),  # not 6 / 2
        ([Node(32.0, 0.0), Node(4.0, 1.0)], None, 0.5, None, 20, (1.0, 0.5, 2)),
    ],
)
def test_what_fits_is_chosen(
    nodes: list[Node],
    cpus: float | None,
    gpus: float | None,
    limit: int | None,
    jobs: int,
    expected: tuple[float, float, int],
) -> None:
    found = fit_resources(nodes, cpus, gpus, limit, jobs)
    assert (found.cpus_per_trial, found.gpus_per_trial, found.concurrency) == expected
    assert found.reason.startswith(f"{expected[2]} trial")
    assert f"{expected[0]:g} CPU and {expected[1]:g} GPU each" in found.reason


@pytest.mark.parametrize(
    ("memory", "limit", "chosen"),
    [(64, None, 8), (6, None, 8), (4, None, 5), (0.1, None, 1), (4, 8, 8)],
)
def test_no_more_run_at_once_than_memory_allows_unless_it_is_asked_for(
    memory: float, limit: int | None, chosen: int
) -> None:
    found = fit_resources([Node(8.0, 0.0, memory * 2**30)], None, None, limit, 20)
    assert found.concurrency == chosen
    assert ("GiB of memory" in found.reason) is (chosen < 8)


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus"),
    [
        (LAPTOP, 9.0, None),
        (LAPTOP, None, 0.5),
        ([Node(16.0, 2.0)], None, 3.0),
        ([Node(2.0, 0.0), Node(2.0, 0.0)], 4.0, None),  # enough in all, not on one node
        ([Node(32.0, 0.0), Node(1.0, 1.0)], 2.0, 1.0),
    ],
)
def test_what_no_node_can_hold_is_refused_in_one_line(
    nodes: list[Node], cpus: float | None, gpus: float | None
) -> None:
    """Ray would wait for it for ever."""
    with pytest.raises(ResourceError) as caught:
        fit_resources(nodes, cpus, gpus, None, 20)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{cpus or 1:g} CPUs" in message
    assert f"{gpus or 0:g} GPUs on one node" in message
    assert f"on {len(nodes)}" in message
