"""What a network costs: counted once, timed once, and the same after a restart."""

from __future__ import annotations

import itertools

import pytest
import torch

from shiftsearch.model import costs
from shiftsearch.model.architecture import REFERENCE
from shiftsearch.model.costs import Meter
from shiftsearch.model.hyperparameters import Hyperparameters
from shiftsearch.model.latency import RUNS, WARM_UPS, latency_ms, processor
from shiftsearch.model.size import network_size

pytestmark = pytest.mark.unit

SIZE = (16, 16)
PLAIN = Hyperparameters().to_flat()
WIDE = {**PLAIN, "network.name": "blocks", "network.width": 2.0}


def test_the_latency_is_the_median_after_the_warm_up() -> None:
    ticks = itertools.count()
    durations = [9_000_000] * WARM_UPS + [1_000_000 * (n % 5) for n in range(RUNS)]
    moments = [0, *itertools.accumulate(d for pair in durations for d in (pair, 0))]
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    assert latency_ms(REFERENCE, 6, SIZE, lambda: moments[next(ticks)]) == 2.0
    assert next(ticks) == 2 * (WARM_UPS + RUNS)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_a_latency_is_measured_in_milliseconds() -> None:
    assert 0.01 < latency_ms(REFERENCE, 6, SIZE) < 100
    assert processor()


def test_each_architecture_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def fake(architecture: object, *_: object) -> float:
        measured.append(architecture)
        return float(len(measured))

    monkeypatch.setattr(costs, "latency_ms", fake)
    meter = Meter(6, SIZE, times=True)
    first, wide = meter(PLAIN), meter(WIDE)
    assert meter({**PLAIN, "baseline.dropout": 0.1}) == first
    assert (first["latency_ms"], wide["latency_ms"], len(measured)) == (1.0, 2.0, 2)
    size = network_size(REFERENCE, 6, SIZE)
    assert first["parameters"] == size.parameters < wide["parameters"]
    assert first["multiply_adds"] == size.multiply_adds < wide["multiply_adds"]
    again = Meter(6, SIZE, times=True)
    again.latencies |= meter.latencies
    assert [again(PLAIN), again(WIDE)] == [first, wide]
    assert len(measured) == 2
    assert "latency_ms" not in Meter(6, SIZE)(PLAIN)
