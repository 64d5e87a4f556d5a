"""Device, dtype and threads, chosen once, each with its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from shiftsearch.model.limits import container_limits


class GpuMissing(RuntimeError):  # noqa: N818, named by its cause
    """This process was given a GPU, but torch sees none."""


@dataclass(frozen=True)
class Device:
    """Where and how a stage computes.

    Attributes:
        name: "cpu" or "cuda".
        dtype: "bfloat16" (autocast: weights and batch statistics stay float32) or "float32".
        threads: number of threads of this process's tensor operations on the CPU.
        reason: why these were chosen, in one line.
    """

    name: str
    dtype: str
    threads: int
    reason: str

    @property
    def torch_device(self) -> torch.device:
        """The device as torch takes it."""
        return torch.device(self.name)

    @property
    def fuses(self) -> bool:
        """Whether blocks run the fused kernels, which work on one thread of a CPU."""
        return self.name == "cpu" and self.threads == 1

    def autocast(self) -> torch.autocast:
        """The context in which the network runs during training and validation."""
        return torch.autocast(self.name, torch.bfloat16, enabled=self.dtype == "bfloat16")

    def apply(self) -> None:
        """Set this process's threads, choose reproducible kernels and switch TF32 off.

        cuDNN's choice of kernels by timing and non-deterministic kernels would break bit-identity.
        TF32, the default of float32 convolutions on a GPU, has 10 bits of mantissa, so that an
        evaluation would differ from the exported model's.
        """
        # OMP_NUM_THREADS is read when torch loads, and a reused Ray worker keeps it: set it here.
        torch.set_num_threads(self.threads)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False


def choose_device(cpus: float = 0, gpus: float | None = 0, dtype: str = "auto") -> Device:
    """The device for this process.

    Args:
        cpus: CPUs it may use; a fraction below 1 counts as 1; 0 means all of the machine's.
        gpus: fraction of a GPU it was given; None means a GPU if one is present. With 0, CUDA is
            not even asked, because that takes memory of a GPU that others were given.
        dtype: "auto", "bfloat16" or "float32".

    Raises:
        ValueError: for another dtype.
        GpuMissing: `gpus` is above 0, but torch sees no GPU.
    """
    if dtype not in ("auto", "bfloat16", "float32"):
        raise ValueError(f"dtype is {dtype!r}, but must be auto, bfloat16 or float32")
    threads = max(1, int(cpus)) if cpus else available_cpus()
    present = gpus != 0 and torch.cuda.is_available()
    if gpus and not present:
        raise GpuMissing(f"gpus_per_trial is {gpus:g}, but torch sees no GPU on this machine")
    if present:
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        name, where = "cuda", torch.cuda.get_device_name()
    else:
        fast, name, where = _cpu_has_bfloat16(), "cpu", "no GPU asked for or present"
    if dtype == "auto":
        dtype = "bfloat16" if fast else "float32"
        why = "made for bfloat16" if fast else "not made for bfloat16"
    else:
        why = "dtype as asked"
    reason = f"{name} ({where}), {dtype} ({why}), {threads} thread{'s' * (threads > 1)}"
    return Device(name, dtype, threads, reason)


def available_cpus() -> int:
    """The number of CPUs this process may use: its affinity or its container's quota."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = container_limits().cpus
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def available_gpus() -> int:
    """The number of GPUs that torch sees."""
    return torch.cuda.device_count()


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively (AVX512-BF16 or AMX).

    Training speed of the reference network with and without bfloat16, one core, batch 64: 1,880
    against 1,081 images per second with AMX, 3,368 against 1,692 with AVX512-BF16 alone. Without
    either, oneDNN emulates bfloat16, which is slower than float32.
    """
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
