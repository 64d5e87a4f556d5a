"""Searches on a cluster of two nodes: who works where, and nodes that join and leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.integration


def reported(name: str, folder: Path) -> Any:
    """What a module of this folder, run on a cluster of its own, prints at its end.

    Its two raylets start in half a minute of processor time, a slow machine's other tests beside.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"tests.search.executing.{name}", folder],
        capture_output=True,
        text=True,
        timeout=560,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "FAKE_SECONDS": "0"},
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_placement_on_two_nodes_of_a_cluster_that_is_joined(tmp_path: Path) -> None:
    """Two raylets with one logical GPU each, of 2 and 1 CPUs; half a GPU and a CPU per trial.

    No GPU computes: Ray only counts them.
    """
    report = reported("two_nodes", tmp_path)
    assert report["finished"]
    assert report["resources"]["concurrency"] == 3
    assert report["refusal"].startswith(
        "resources: a trial asks for 3 CPUs and 0 GPUs on one node"
    )
    *tries, last = report["attempts"]
    assert len(tries) == 3
    assert all(t["assigned"]["GPU"] == 0.5 and t["assigned"]["CPU"] == 1 for t in tries)
    assert all(len(t["gpus"]) == 1 for t in tries)
    # The third ran out of the memory of its half, and got a whole GPU.
    assert (last["number"], last["attempt"], last["assigned"]["GPU"]) == (2, 1, 1)
    assert report["states"] == ["complete"] * 3
    (needs, (raised,)), (none, (silent,)) = report["needs"]
    assert needs == [[1, 1, 7]]  # with a whole GPU
    assert "torch sees no GPU" in raised
    assert not none
    assert "no GPU was free within 0.1 s" in silent
    nodes = [t["node"] for t in tries]
    assert sorted(nodes.count(node) for node in set(nodes)) == [1, 2]  # all at once, on both
    assert max(t["begin"] for t in tries) < min(t["end"] for t in tries if "end" in t)
    assert report["alive"] == 2  # leaving a joined cluster does not end it


def test_trials_at_once_follow_a_cluster_that_grows_and_shrinks(tmp_path: Path) -> None:
    """A node joins a cluster of one CPU, and is killed later."""
    report = reported("growing", tmp_path)
    assert report["numbers"] == [1, 2, 1]
    assert [state for state, _ in report["trials"]] == ["complete"] * 4
    assert report["lost"] == 1
    tries = report["attempts"]
    assert len(tries) == 5  # one trial again, after its node was killed
    first, second = tries[:2]
    assert first["node"] != second["node"]
    assert second["begin"] < first["end"]
    gone = second["node"]
    assert [t["node"] for t in tries[2:]].count(gone) == 1
    places = [place for _, place in report["trials"]]
    assert all(place["seconds"] > 0 for place in places)
    assert {place["node_id"] for place in places} == {first["node"], gone}
    by_node = {place["node_id"]: place["jobs"] for place in report["places"]}
    assert by_node == {first["node"]: 3, gone: 1}
    assert report["waiting"] >= 1
