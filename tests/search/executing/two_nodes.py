"""A search on two raylets with logical GPUs: python -m tests.search.executing.two_nodes FOLDER.

The third job needs a whole GPU. Prints as JSON what was measured on the GPUs and fitted, what each
job saw and whether the cluster outlived the driver.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster

import shiftsearch.search.executing.tune
from shiftsearch.model.gpu_memory import Need
from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.executing.cluster import cluster, cluster_nodes
from shiftsearch.search.executing.joined import check_address
from shiftsearch.search.executing.resources import ResourceError, fit_resources
from shiftsearch.search.executing.trainable import WorkerContext
from shiftsearch.search.executing.trial_memory import needs_of
from tests import made_results
from tests.search import fake_study, fake_trainable
from tests.search.fake_study import open_study
from tests.search.fake_trainable import attempts, fake_run_job, run_fake_jobs


def gpu_task(context: WorkerContext, configurations: Sequence[Mapping[str, Value]]) -> Need:
    """Stands for `trial_memory.memory_of`."""
    node_id = ray.get_runtime_context().get_node_id()
    if configurations[0]["broken"] == node_id:
        raise RuntimeError("torch sees no GPU")
    return Need(len(ray.get_gpu_ids()), int(context.gpus), 7)


def main(folder: Path) -> None:
    cloudpickle.register_pickle_by_value(made_results)
    cloudpickle.register_pickle_by_value(fake_study)
    cloudpickle.register_pickle_by_value(fake_trainable)
    shiftsearch.search.executing.tune.run_job = fake_run_job
    head = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 2**27}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    nodes.add_node(num_cpus=1, num_gpus=1, object_store_memory=2**27)
    nodes.wait_for_nodes()
    # An earlier Ray has left a token here, which the cluster does not know.
    os.environ["HOME"] = str(folder)
    (folder / ".ray").mkdir()
    (folder / ".ray" / "auth_token").write_text("0" * 32)
    check_address(nodes.address)
    study = open_study(folder / "study.journal", trials=3)
    plan = {
        f"search-{n}-0": {"until_begun": [f"search-{m}-0" for m in range(3)]} for n in range(3)
    }
    plan["search-2-0"]["do"] = "fill gpu"
    context = WorkerContext("", "", "", "{}", 0, 1.0, 0.0, "float32")
    with cluster(nodes.address, folder / "ray"):
        broken, whole = cluster_nodes()
        found = needs_of(context, [{"broken": broken.node_id}], [broken, whole], gpu_task)
        late = needs_of(context, [], [whole], gpu_task, limit=0.1)
        resources = fit_resources(cluster_nodes(), 1.0, 0.5, None, 20)
        try:
            fit_resources(cluster_nodes(), 3.0, 0.0, None, 20)
            refusal = ""
        except ResourceError as error:
            refusal = str(error)
        run_fake_jobs(study, [], folder, plan, resources)
    with cluster(nodes.address, folder / "ray"):
        alive = len(ray.nodes())
    nodes.shutdown()
    report = {
        "needs": [found, late],
        "states": [trial.state for trial in study.trials()],
        "resources": dataclasses.asdict(resources),
        "refusal": refusal,
        "attempts": attempts(folder),
        "finished": study.finished,
        "alive": alive,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
