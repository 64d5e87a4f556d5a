"""The number of jobs at once follows the cluster."""

from __future__ import annotations

import pytest

from shiftsearch.search.executing.concurrency import EVERY, Concurrency
from shiftsearch.search.executing.resources import Node, Resources, fit_resources

pytestmark = pytest.mark.unit


class Cluster:
    def __init__(self) -> None:
        self.nodes, self.looks, self.now = [Node(2.0, 0.0)], 0, 0.0

    def fit(self) -> Resources:
        self.looks += 1
        return fit_resources(self.nodes, 1.0, 0.0, None, 20)


def test_nodes_that_come_and_go_change_the_number() -> None:
    cluster, told = Cluster(), list[tuple[int, str]]()
    found = Concurrency(
        cluster.fit(),
        cluster.fit,
        lambda now: told.append((now.concurrency, now.reason)),
        lambda: cluster.now,
    )
    assert not found.fixed
    for nodes, number in (([2.0, 3.0], 5), ([2.0], 2), ([], 1), ([0.5], 1), ([1.0, 1.0], 2)):
        cluster.nodes = [Node(cpus, 0.0) for cpus in nodes]
        cluster.now += EVERY
        found.look()
        assert found.number == number
    assert [number for number, _ in told] == [5, 2, 1, 2]
    assert "waits for a node" in told[2][1]
    looks = cluster.looks
    found.look()
    assert cluster.looks == looks  # not in every step


def test_a_fixed_number_stays() -> None:
    found = Concurrency(Resources(1.0, 0.0, 3, "as asked"))
    found.look()
    assert (found.number, found.fixed) == (3, True)
