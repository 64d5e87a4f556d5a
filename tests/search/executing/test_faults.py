"""The kind of a fault follows from its type and error number, wherever it was raised."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest
import torch
from ray import exceptions as rays
from ray.tune.error import TuneError

from shiftsearch.data.dataset import DataError
from shiftsearch.model.device import GpuMissing
from shiftsearch.model.engine import TrialDiverged
from shiftsearch.model.own_network import OwnNetworkError, give
from shiftsearch.model.own_source import find
from shiftsearch.search.executing.faults import fault_of

pytestmark = pytest.mark.integration


def system(number: int, path: str | None = "/mnt/store/final") -> OSError:
    return OSError(number, os.strerror(number), path)


def actor_that_could_not_start() -> rays.ActorDiedError:
    text = (
        "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'y'\n"
    )
    return rays.ActorDiedError(rays.RayTaskError("__init__", text, ModuleNotFoundError("y")))


LOST = [
    rays.RayActorError(),
    rays.ActorDiedError(),
    rays.ActorUnavailableError("its node is away", None),
    rays.WorkerCrashedError(),
    rays.NodeDiedError("node 7 died"),
    rays.LocalRayletDiedError(),
    rays.OutOfMemoryError("Task was killed due to the node running low on memory"),
    rays.RaySystemError("the raylet is gone"),
    rays.OwnerDiedError("ab", None, ""),
    TuneError("the trial could not start"),
    MemoryError("too large an array"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: Error code 12"),
    RuntimeError("could not create a primitive"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    RuntimeError("can't start new thread"),
    torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
    system(errno.ENOMEM, None),
    system(errno.EAGAIN, None),
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
]
ENVIRONMENT = [
    *map(system, (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)),
    *map(system, (errno.ENOENT, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV)),
    *map(system, (errno.EMFILE, errno.ENFILE, errno.ENOTDIR)),
    OSError("When uploading object with key 'a': AWS Error NETWORK_CONNECTION during PutObject"),
    DataError(["/mnt/run/dataset: is no whole pack of a dataset"]),
    GpuMissing("gpus_per_trial is 1, but torch sees no GPU on this machine"),
    ModuleNotFoundError("No module named 'safetensors'"),
    rays.OutOfDiskError("/tmp is full"),
    rays.RuntimeEnvSetupError("cannot be made"),
    actor_that_could_not_start(),
]
VERDICTS = [
    TrialDiverged("baseline epoch 2: training loss nan"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ValueError("frozen_layers is 9, but must be in 0..4"),
    ZeroDivisionError("division by zero"),
    KeyError("result"),
]


@pytest.mark.parametrize(
    ("kind", "error"),
    [(k, e) for k, es in {"lost": LOST, "environment": ENVIRONMENT}.items() for e in es]
    + [("verdict", error) for error in VERDICTS],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_kind_of_a_fault(kind: str, error: Exception) -> None:
    """The same on the worker, on the driver, and for a worker's exception that Ray sends."""
    fault = fault_of(error)
    assert fault.kind == kind
    assert fault.reason
    assert "\n" not in fault.reason
    if not isinstance(error, rays.RayError | torch.AcceleratorError):
        carried = rays.RayTaskError("run_job", "Traceback\n", pickle.loads(pickle.dumps(error)))
        assert fault_of(carried).kind == kind
        assert fault_of(carried.as_instanceof_cause()).kind == kind


@pytest.mark.parametrize(
    ("cause", "kind"), [(system(errno.ENOSPC), "environment"), (MemoryError(), "lost")]
)
def test_a_fault_is_of_the_kind_of_what_caused_it(cause: Exception, kind: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("the stage could not be stored") from cause
    assert fault_of(caught.value).kind == kind


@pytest.mark.parametrize("where", ["the module", "its function"])
@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("import a_package_of_the_driver_alone", "environment"),
        (f"raise OSError({errno.ESTALE}, 'Stale file handle')", "environment"),
        (f"raise OSError({errno.EMFILE}, 'Too many open files')", "environment"),
        (f"raise OSError({errno.ENOMEM}, 'Cannot allocate memory')", "lost"),
        ("raise MemoryError", "lost"),
        ("raise RuntimeError('no such processor')", "environment"),
    ],
)
def test_an_own_network_that_a_worker_cannot_use_is_no_verdict(
    tmp_path: Path, line: str, kind: str, where: str
) -> None:
    """The driver has imported and checked it before, so the machine is at fault."""
    begin = "" if where == "the module" else "def build(classes, size):\n    "
    (tmp_path / "nets.py").write_text(f"{begin}{line}\n")
    source = find("nets:build", [tmp_path])
    with pytest.raises((OwnNetworkError, MemoryError)) as caught:
        give(source.name, source.load(), 10, (28, 28))
    fault = fault_of(caught.value)
    assert fault.kind == kind
    assert "\n" not in fault.reason
    if isinstance(caught.value, OwnNetworkError):
        assert fault.reason == caught.value.problems[0].strip()  # it names the network


def test_an_own_network_that_a_worker_does_not_find_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(OwnNetworkError) as caught:
        find("nets:build", [tmp_path])
    assert fault_of(caught.value).kind == "environment"


def diverge_after_a_look() -> None:
    try:
        raise system(errno.ENOENT)
    except OSError:
        raise TrialDiverged("baseline epoch 2: training loss nan")  # noqa: B904


def test_what_was_handled_before_an_error_is_not_its_cause() -> None:
    """An OSError was handled before the training diverged."""
    with pytest.raises(TrialDiverged) as caught:
        diverge_after_a_look()
    assert isinstance(caught.value.__context__, OSError)
    assert fault_of(caught.value).kind == "verdict"


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "gpu"),
        (torch.AcceleratorError("CUDA error: out of memory"), "gpu"),
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"), ""),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
            "gpu",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "gpu"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"), ""),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "node"),
        (MemoryError(), "node"),
        (rays.OutOfMemoryError("Task was killed due to the node running low on memory"), "node"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_it_is_told_whose_memory_ran_out(error: Exception, memory: str) -> None:
    """Only the GPU's own asks for a larger share."""
    fault = fault_of(error)
    assert (fault.kind, fault.memory) == ("lost", memory)
    if isinstance(error, RuntimeError):
        assert fault_of(rays.RayTaskError("run_job", "Traceback", error)).memory == memory


def test_the_reason_names_the_file_and_a_memory_kill() -> None:
    assert fault_of(system(errno.ENOSPC)).reason == "/mnt/store/final: No space left on device"
    killed = fault_of(rays.OutOfMemoryError("Task was killed due to ... low on memory"))
    assert killed.reason.startswith("out of memory: ")
    assert "No module named 'y'" in fault_of(actor_that_could_not_start()).reason
