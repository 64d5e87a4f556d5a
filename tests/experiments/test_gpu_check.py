"""The check of a GPU, rehearsed in small on the CPU: its parts measure and judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from shiftsearch.experiments.benchmarks import gpu_check
from shiftsearch.experiments.benchmarks.gpu_check import REHEARSAL, Check, main, run_tests
from shiftsearch.experiments.benchmarks.gpu_parity import compare
from shiftsearch.experiments.benchmarks.gpu_sharing import share
from shiftsearch.experiments.benchmarks.gpu_table import print_table
from shiftsearch.model.device import choose_device

pytestmark = pytest.mark.unit


def test_without_a_gpu_it_says_so_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out = tmp_path / "check.json"
    assert main(["--out", str(out)]) == 0
    assert "GPU" in capsys.readouterr().out
    assert not out.exists()


def test_equal_accuracies_are_within_noise_and_a_constant_shift_is_not() -> None:
    expected = [0.90, 0.93, 0.91, 0.94]
    assert compare(expected, expected)["passed"]
    assert compare(
        [e + d for e, d in zip(expected, (0.02, -0.03, 0.01, 0.0), strict=True)], expected
    )["passed"]
    shifted = compare(
        [e - 0.04 - d for e, d in zip(expected, (0.001, 0, 0.002, 0), strict=True)], expected
    )
    assert not shifted["passed"]
    assert shifted["interval"][1] < 0


@pytest.mark.slow(reason="trains on the CPU, and starts a process that imports torch")
def test_speed_and_sharing_measure_what_they_say() -> None:
    check = Check(REHEARSAL, gpus=0)
    rows = check.speed()
    assert [(r["dtype"], r["batch"]) for r in rows] == [("float32", 16), ("bfloat16", 16)]
    assert all(r["images_per_second"] > 0 for r in rows)
    device = choose_device(cpus=1, gpus=0, dtype="float32")
    row = share(check.dataset, check.protocol, device, 1, 1.0)
    assert row["trials_per_hour"] == pytest.approx(3600 / row["seconds_per_trial"])


@pytest.mark.slow(reason="starts pytest")
def test_the_cuda_tests_are_found() -> None:
    (row,) = run_tests(gpus=0)
    assert row["passed"]


def test_a_part_that_fails_is_reported_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(self: Check) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Check, "sharing", fails)
    monkeypatch.setattr(Check, "speed", lambda self: [])
    monkeypatch.setattr(Check, "parity", lambda self: [])
    passed = [{"passed": True, "counts": {}}]
    monkeypatch.setattr(gpu_check, "run_tests", lambda gpus: passed)
    report = Check(REHEARSAL, gpus=0).run()
    assert report["tests"] == passed
    assert report["errors"] == {"sharing": "RuntimeError: out of memory"}
    assert not report["passed"]
    print_table(report)
    assert "out of memory" in capsys.readouterr().out
