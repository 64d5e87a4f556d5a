"""A search whose cluster grows and shrinks: python -m tests.search.executing.growing FOLDER.

One CPU at first. Trials 0 and 1 wait for each other, so the search ends only if the node that
joins adds a trial at once. When trials 2 and 3 have begun, that node is killed. Prints as JSON
what each job saw, what the study and the status hold, and the numbers of jobs at once.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from ray import cloudpickle
from ray.cluster_utils import Cluster

import shiftsearch.search.executing.tune
from shiftsearch.experiments.live.board import Board
from shiftsearch.search.executing.cluster import cluster, cluster_nodes
from shiftsearch.search.executing.concurrency import Concurrency
from shiftsearch.search.executing.resources import Resources, fit_resources
from tests import made_results
from tests.search import fake_study, fake_trainable
from tests.search.fake_study import open_study
from tests.search.fake_trainable import attempts, begun, fake_run_job, run_fake_jobs

TOGETHER = {0: 1, 1: 0, 2: 3, 3: 2}
CHECKS = {  # a killed node is noticed after 5 s, not 20
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 10,
}
SMALL = {"num_cpus": 1, "object_store_memory": 2**27}


def main(folder: Path) -> None:
    for module in (made_results, fake_study, fake_trainable):
        cloudpickle.register_pickle_by_value(module)
    shiftsearch.search.executing.tune.run_job = fake_run_job
    nodes = Cluster(initialize_head=True, head_node_args={**SMALL, "_system_config": CHECKS})
    study = open_study(folder / "study.journal", trials=4)
    plan = {f"search-{n}-0": {"until_begun": [f"search-{m}-0"]} for n, m in TOGETHER.items()}
    for number in (2, 3):
        plan[f"search-{number}-0"]["seconds"] = 6.0
    board = Board("tests", 4, {})
    numbers, waiting, joined = [1], [], []

    def fit() -> Resources:
        return fit_resources(cluster_nodes(), 1.0, 0.0, None, 20)

    def step() -> None:
        concurrency.look()
        if not joined and begun(folder, "search-0-0"):
            joined.append(nodes.add_node(**SMALL))
        elif len(joined) == 1 and all(begun(folder, f"search-{n}-0") for n in (2, 3)):
            nodes.remove_node(joined[0], allow_graceful=False)
            joined.append(None)
        waiting.append(board.snapshot()["counts"]["waiting"])

    with cluster(nodes.address, folder / "ray"):
        resources = fit()
        concurrency = Concurrency(resources, fit, lambda now: numbers.append(now.concurrency))
        run_fake_jobs(study, [board], folder, plan, resources, 1, step, concurrency)
    nodes.shutdown()
    report = {
        "numbers": numbers,
        "attempts": attempts(folder),
        "trials": [[t.state, t.place and dataclasses.asdict(t.place)] for t in study.trials()],
        "places": board.snapshot()["places"],
        "lost": board.snapshot()["counts"]["lost"],
        "waiting": max(waiting),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
