"""`gpus_per_trial: auto`: what is measured, and what the experiment then asks for."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.definition import DefinitionError, build, dump
from shiftsearch.experiments.gpu_share import largest, with_share
from shiftsearch.experiments.inputs import fit
from shiftsearch.experiments.sections import ResourceRequest
from shiftsearch.model.gpu_memory import Need
from shiftsearch.search.executing.resources import Node
from shiftsearch.search.executing.trainable import WorkerContext

pytestmark = pytest.mark.integration

CONTEXT = WorkerContext("/pack", "digest", "/store", "{}", 0, 1.0, 1.0, "float32")
NODES = [Node(8.0, 1.0, node_id="ab"), Node(8.0, 0.0, node_id="cd")]
SPACE = {
    "network": {
        "name": {"choices": ["three blocks", "blocks"]},
        "depth": {"low": 2, "high": 3},
        "width": {"low": 0.5, "high": 2.0},
    },
    "baseline": {
        "batch_size": {"choices": [32, 256, 64]},
        "learning_rate": {"low": 1e-5, "high": 1.0, "log": True},
    },
    "fine_tune": {"frozen_layers": {"low": 0, "high": 4}, "ema_decay": {"low": 0.0, "high": 0.99}},
}


def request(dataset: Dataset, asked: Any, nodes: list[Node], answer: Any) -> tuple[Any, list[str]]:
    experiment = build({"resources": {"gpus_per_trial": asked}, "space": SPACE}, "tests")
    said: list[str] = []
    calls: list[Any] = []

    def measure(*arguments: Any) -> Any:
        calls.append(arguments)
        return answer

    found = with_share(
        *(experiment.resources, experiment.search_space(), dataset, nodes, CONTEXT),
        *(said.append, measure),
    )
    assert len(calls) == (asked == "auto" and any(node.gpus for node in nodes))
    for context, configurations, where in calls:
        assert context == CONTEXT
        assert configurations == largest(experiment.search_space(), dataset)
        assert where == nodes
    return found, said


def test_auto_becomes_a_share(tiny_dataset: Dataset) -> None:
    gib = 2**30
    found, said = request(tiny_dataset, "auto", NODES, ([Need(4 * gib, gib, 24 * gib)], []))
    assert found == ResourceRequest(gpus_per_trial=0.25)
    assert len(said) == 2
    experiment = build({"trials": 99}, "tests")
    resources = fit(experiment, NODES, found)
    assert (resources.gpus_per_trial, resources.concurrency) == (0.25, 4)


def test_what_cannot_be_measured_is_said_and_gets_a_whole_gpu(tiny_dataset: Dataset) -> None:
    found, said = request(tiny_dataset, "auto", NODES, ([], ["node ab: torch sees no GPU"]))
    assert found.gpus_per_trial == 1
    assert said[1] == "warning: gpus_per_trial: node ab: torch sees no GPU"


@pytest.mark.parametrize(("asked", "nodes"), [(None, NODES), (0.5, NODES), ("auto", NODES[1:])])
def test_nothing_else_is_measured(tiny_dataset: Dataset, asked: Any, nodes: list[Node]) -> None:
    found, said = request(tiny_dataset, asked, nodes, None)
    assert found.gpus_per_trial == (None if asked == "auto" else asked)
    assert said == []


def test_the_largest_networks_are_measured_with_the_largest_batches(
    tiny_dataset: Dataset,
) -> None:
    space = build({"space": SPACE}, "tests").search_space()
    found = largest(space, tiny_dataset)
    assert 1 <= len(found) <= 2
    for configuration in found:
        assert configuration["network.name"] == "blocks"
        assert configuration["network.width"] == 2.0
        assert configuration["baseline.batch_size"] == 256
        assert configuration["fine_tune.frozen_layers"] == 0
        assert configuration["fine_tune.ema_decay"] == 0.99
        assert configuration["baseline.learning_rate"] == 1e-3  # not one that diverges
        assert space.complete(configuration) == configuration


@pytest.mark.parametrize("value", [-0.1, 1.5, "all", True, [1], float("inf")])
def test_a_share_of_no_kind_is_refused_in_one_line(value: Any) -> None:
    with pytest.raises(DefinitionError) as caught:
        build({"resources": {"gpus_per_trial": value}}, "tests")
    (line,) = caught.value.problems
    assert line.startswith(f"tests: resources.gpus_per_trial: {value!r}, but must be from 0 to 1")


@pytest.mark.parametrize("value", [0, 0.25, 1, 2, "auto", None])
def test_shares_and_auto_are_taken_and_written(value: Any) -> None:
    experiment = build({"resources": {"gpus_per_trial": value}}, "tests")
    assert experiment.resources.gpus_per_trial == value
    assert build(yaml.safe_load(dump(experiment)), "again") == experiment


def test_before_it_is_measured_auto_counts_as_a_whole_gpu() -> None:
    experiment = build({"trials": 99, "resources": {"gpus_per_trial": "auto"}}, "tests")
    assert fit(experiment, NODES).gpus_per_trial == 1
    assert fit(experiment, NODES[1:]).gpus_per_trial == 0
