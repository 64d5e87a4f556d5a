"""A joined cluster that loses a node, or its head and all of Ray, while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from shiftsearch.search.study.records import stored_trials
from tests.campaigns.conftest import Bench
from tests.campaigns.runs import trials_of
from tests.campaigns.test_kills import assert_undisturbed

pytestmark = pytest.mark.campaign

NODE = {"num_cpus": 1, "object_store_memory": 2**27}
CHECKS = {  # a killed node is noticed after 5 s, not 20
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 10,
}
ENDED_WITHIN = 60.0


@contextmanager
def head() -> Iterator[Cluster]:
    """A cluster whose head trains nothing."""
    first = {**NODE, "num_cpus": 0, "_system_config": CHECKS}
    cluster = Cluster(initialize_head=True, head_node_args=first)
    try:
        yield cluster
    finally:
        cluster.shutdown()


@contextmanager
def driver(bench: Bench, run: Path, address: str) -> Iterator[Future[int]]:
    """The driver on a cluster; its exit code."""
    command = bench.command(run, Bench.TRIALS, "--address", address)
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(bench.starter, command)


def wait_for(condition: Callable[[], object], code: Future[int], bench: Bench) -> None:
    end = time.monotonic() + 240
    while not condition():
        assert not code.done(), bench.starter.said()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def begun(run: Path, number: int) -> bool:
    """Whether a trial is running, or has been."""
    return (run / "study.journal").exists() and len(trials_of(run)) > number


def test_a_node_is_killed_and_another_joins(bench: Bench, full_campaign: bool) -> None:
    if not full_campaign:
        pytest.skip("in the full campaign only; in short with jobs that train nothing")
    run = bench.run("node-killed")
    with head() as cluster:
        nodes = [cluster.add_node(**NODE)]
        with driver(bench, run, cluster.address) as code:
            wait_for(lambda: begun(run, 1), code, bench)
            cluster.remove_node(nodes[0], allow_graceful=False)
            nodes.append(cluster.add_node(**NODE))
            assert code.result() == 0, bench.starter.said()
        used = [trial.place.node_id for trial in stored_trials(run / "study.journal")]
    assert used[0] == nodes[0].node_id
    assert used[2:] == [nodes[1].node_id] * (Bench.TRIALS - 2)
    assert_undisturbed(run, bench)


def test_all_of_ray_is_killed_and_another_cluster_goes_on(
    bench: Bench, full_campaign: bool
) -> None:
    if not full_campaign:
        pytest.skip("in the full campaign only")
    run = bench.run("ray-killed")
    with head() as cluster:
        cluster.add_node(**NODE)
        with driver(bench, run, cluster.address) as code:
            wait_for(lambda: begun(run, 1), code, bench)
            before = len(bench.starter.said())
            for node in cluster.list_all_nodes():
                node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
            killed = time.monotonic()
            assert code.result() == 75, bench.starter.said()
            took = time.monotonic() - killed
    last = bench.starter.said()[before:].splitlines()[-1]
    assert took < ENDED_WITHIN
    assert last.startswith("interrupted")
    assert "does not answer" in last
    with head() as another:
        another.add_node(**NODE)
        with driver(bench, run, another.address) as code:
            assert code.result() == 0, bench.starter.said()
    assert_undisturbed(run, bench)
