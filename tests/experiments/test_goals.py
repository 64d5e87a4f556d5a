"""Constraints and objectives in an experiment file, and the check before a new run."""

from __future__ import annotations

from typing import Any

import pytest

from shiftsearch.data.dataset import DataError, Dataset
from shiftsearch.experiments import costing
from shiftsearch.experiments.costing import meter_for
from shiftsearch.experiments.definition import DefinitionError, build, dump
from shiftsearch.model import costs
from shiftsearch.model.architecture import REFERENCE
from shiftsearch.model.size import network_size

pytestmark = pytest.mark.unit

NETWORK: dict[str, Any] = {
    "name": "blocks",
    "depth": {"low": 2, "high": 3},
    "width": {"choices": [0.25, 0.5, 1.0]},
}


def problems(**raw: Any) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        build(raw, "file")
    return caught.value.problems


def test_both_are_part_of_the_identity_unless_they_are_absent() -> None:
    plain = build({}, "file")
    raw = {"constraints": {"max_parameters": 9, "max_latency_ms": 1}, "objectives": []}
    bounded = build(raw, "file")
    several = build({"objectives": ["test2_accuracy", "multiply_adds"]}, "file")
    added = [
        set(e.identity("0").items()) - set(plain.identity("0").items()) for e in (bounded, several)
    ]
    assert added == [
        {("constraints.max_parameters", "9"), ("constraints.max_latency_ms", "1.0")},
        {("objectives", "test2_accuracy, multiply_adds")},
    ]
    assert build(yaml_of(bounded), "file") == bounded
    assert build(yaml_of(several), "file") == several
    assert several.settings().costs == ("multiply_adds",)
    assert [e.times_networks for e in (plain, bounded, several)] == [False, True, False]


def yaml_of(experiment: Any) -> dict[str, Any]:
    import yaml

    read: dict[str, Any] = yaml.safe_load(dump(experiment))
    return read


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        ({"objectives": ["test2_accuracy"]}, ["objectives", "test2_accuracy"]),
        ({"objectives": ["parameters", "test2_accuracy"]}, ["objectives", "latency_ms"]),
        ({"objectives": ["test2_accuracy", "size"]}, ["objectives", "'size'"]),
        ({"objectives": ["test2_accuracy", *["parameters"] * 2]}, ["objectives", "once"]),
        (
            {"objective": "f1_macro", "objectives": ["test2_accuracy", "parameters"]},
            ["objectives", "test2_f1_macro"],
        ),
        (
            {"objectives": ["test2_accuracy", "parameters"], "policy": {"rungs": [2]}},
            ["policy.rungs", "[2]"],
        ),
        ({"objectives": ["test2_accuracy", "parameters"], "sampler": "gp"}, ["sampler", "'gp'"]),
        ({"constraints": {"max_parameters": 9}, "sampler": "gp"}, ["sampler", "'gp'"]),
        ({"constraints": {"max_parameters": 0}}, ["constraints.max_parameters", "0"]),
        ({"constraints": {"max_size": 9}}, ["constraints.max_size", "max_parameters"]),
        ({"constraints": {"max_latency_ms": -1}}, ["constraints.max_latency_ms", "-1"]),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(
    raw: dict[str, Any], parts: list[str]
) -> None:
    (line,) = problems(**raw)
    assert line.startswith(f"file: {parts[0]}: ")
    assert parts[1] in line


def refused(dataset: Dataset, **raw: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        meter_for(build(raw, "file"), dataset, begun=False)
    return caught.value.problems


def test_a_bound_that_no_network_keeps_is_refused_before_anything_is_written(
    tiny_dataset: Dataset,
) -> None:
    bound = {"max_parameters": 1000}
    whole = network_size(REFERENCE, 6, (28, 28)).parameters
    (line,) = refused(tiny_dataset, constraints=bound)
    assert f"constraints.max_parameters: 1,000, but the least is {whole:,} parameters" in line
    (line,) = refused(tiny_dataset, constraints=bound, space={"network": NETWORK})
    smallest = int(line.split("least is ")[1].split()[0].replace(",", ""))
    assert smallest < whole / 4
    raw = {"constraints": {"max_parameters": smallest}, "space": {"network": NETWORK}}
    meter_for(build(raw, "file"), tiny_dataset, begun=False)
    meter_for(build({"constraints": bound}, "file"), tiny_dataset, begun=True)


def test_a_point_that_breaks_a_bound_is_named(tiny_dataset: Dataset) -> None:
    space = {"network": NETWORK}
    point = {"network": {"depth": 3, "width": 1.0}}
    least = {"network": {"depth": 3, "width": 0.25}}
    lines = refused(
        tiny_dataset, constraints={"max_parameters": 300_000}, space=space, points=[least, point]
    )
    assert len(lines) == 1
    assert lines[0].startswith("points[1]: has ")


def test_latencies_are_measured_only_until_one_keeps_the_bound(
    tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[float] = []

    def fake(*_: object) -> float:
        measured.append(3.0 - len(measured))
        return measured[-1]

    monkeypatch.setattr(costs, "latency_ms", fake)
    raw = {"constraints": {"max_latency_ms": 2.5}, "space": {"network": NETWORK}}
    meter = meter_for(build(raw, "file"), tiny_dataset, begun=False)
    assert measured == [3.0, 2.0]
    assert len(meter.latencies) == 2
    monkeypatch.setattr(costs, "latency_ms", lambda *_: 3.0)
    (line,) = refused(tiny_dataset, **raw)
    assert "constraints.max_latency_ms: 2.5, but the least is 3.0 ms" in line
    for name in ("_MEASURED", "_LOOKED_AT"):  # too many networks to tell
        with monkeypatch.context() as patch:
            patch.setattr(costing, name, 2)
            meter_for(build(raw, "file"), tiny_dataset, begun=False)
