"""The choice of device, dtype and threads, with its reason; a machine of any kind is pretended."""

from __future__ import annotations

import os

import pytest
import torch

from shiftsearch.model import device as module
from shiftsearch.model.device import Device, GpuMissing, available_cpus, choose_device
from shiftsearch.model.limits import Limits

pytestmark = pytest.mark.unit


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with 6 CPUs, a GPU, and bfloat16 on both."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla Y")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(module, "available_cpus", lambda: 6)
    return monkeypatch


NO_GPU = "cpu (no GPU asked for or present)"


@pytest.mark.parametrize(
    ("cpus", "gpus", "dtype", "reason"),
    [
        (0, None, "auto", "cuda (Tesla Y), bfloat16 (made for bfloat16), 6 threads"),
        (1, 0.25, "auto", "cuda (Tesla Y), bfloat16 (made for bfloat16), 1 thread"),
        (2.5, 0, "auto", f"{NO_GPU}, bfloat16 (made for bfloat16), 2 threads"),
        (0.5, 0, "float32", f"{NO_GPU}, float32 (dtype as asked), 1 thread"),
        (2, None, "bfloat16", "cuda (Tesla Y), bfloat16 (dtype as asked), 2 threads"),
    ],
)
def test_the_choice_says_why(
    machine: pytest.MonkeyPatch, cpus: float, gpus: float | None, dtype: str, reason: str
) -> None:
    device = choose_device(cpus, gpus, dtype)
    assert device.reason == reason
    assert reason.startswith(device.name)
    assert f", {device.dtype} (" in reason
    assert f", {device.threads} thread" in reason


def test_float32_where_bfloat16_would_be_emulated(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    machine.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    for gpus in (1, 0):
        device = choose_device(gpus=gpus)
        assert device.dtype == "float32"
        assert "not made for bfloat16" in device.reason


def test_a_gpu_that_was_promised_and_is_missing_is_an_error(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(gpus=None).name == "cpu"
    with pytest.raises(GpuMissing, match=r"gpus_per_trial is 0\.25, but torch sees no GPU"):
        choose_device(gpus=0.25)


def test_a_process_that_was_given_no_gpu_does_not_ask_cuda(machine: pytest.MonkeyPatch) -> None:
    """To ask makes a context, which takes memory of a GPU that a worker was given."""

    def asked() -> bool:
        raise AssertionError

    machine.setattr(torch.cuda, "is_available", asked)
    assert choose_device().name == choose_device(cpus=2, gpus=0.0).name == "cpu"


def test_another_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match="'float16', but must be auto, bfloat16 or float32"):
        choose_device(dtype="float16")


def test_applying_sets_the_threads_and_reproducible_kernels() -> None:
    threads = torch.get_num_threads()
    try:
        torch.backends.cudnn.benchmark = True
        Device("cpu", "float32", 2, "").apply()
        assert torch.get_num_threads() == 2
        assert not torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_num_threads(threads)


def test_autocast_is_on_for_bfloat16_alone() -> None:
    for dtype, computed in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        device = Device("cpu", dtype, 1, "")
        with device.autocast():
            assert torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype == computed


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no affinity")
@pytest.mark.parametrize(
    ("quota", "count"), [(None, 3), (64.0, 3), (2.0, 2), (2.9, 2), (1.0, 1), (0.25, 1)]
)
def test_only_cpus_that_may_be_used_count(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, count: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(module, "container_limits", lambda: Limits(quota, None))
    assert available_cpus() == count
