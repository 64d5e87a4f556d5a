"""The three kinds of faults; only this module decides which kind a fault is.

*lost*: the worker was lost, because its process or node ended or memory ran out. The job itself
may be fine and is handed out again, a limited number of times. *environment*: the machine cannot
do any job now (no space, a folder that is not mounted, a missing GPU). This does not depend on the
configuration, so no more jobs are asked for, and open ones stay open. *verdict*: the configuration
cannot be trained; its trial fails. An exception on a worker is classified there, and the driver is
sent the kind; the driver classifies Ray's own exceptions.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from typing import Literal

import torch
from ray.exceptions import (
    AuthenticationError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
)
from ray.tune.error import TuneError

from shiftsearch.data.dataset import DataError
from shiftsearch.data.os_errors import in_words, lacks_memory
from shiftsearch.model.device import GpuMissing
from shiftsearch.model.engine import TrialDiverged
from shiftsearch.model.own_network import OwnNetworkError
from shiftsearch.search.executing.ray_private import WorkerError

Kind = Literal["lost", "environment", "verdict"]

_ENVIRONMENT = (DataError, GpuMissing, ImportError)
_RAY_ENVIRONMENT = (
    AuthenticationError,
    ObjectStoreFullError,
    OutOfDiskError,
    RuntimeEnvSetupError,
)
# Raised when a GPU faults; after that the process cannot use any GPU.
_ACCELERATOR = getattr(torch, "AcceleratorError", torch.OutOfMemoryError)
# There was no process, socket or memory for a moment; all other OSErrors are lasting.
_PASSING = (errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT)


class EnvironmentFault(RuntimeError):  # noqa: N818, named by its cause
    """The search cannot go on because of the machine; the message is one line with the cause."""


@dataclass(frozen=True)
class Fault:
    """Why a job ended without a result.

    Attributes:
        kind: "lost", "environment" or "verdict".
        reason: one line.
        memory: what memory ran out: "gpu", of the worker's share of a GPU, "node", or none.
    """

    kind: Kind
    reason: str
    memory: Literal["", "gpu", "node"] = ""


def fault_of(error: BaseException) -> Fault:
    """The kind of a fault and its reason, from the exception's type and error number.

    An exception without a kind of its own takes the kind of the exception that caused it. The
    driver has used a person's own network before; if a worker cannot use it, the machine is at
    fault.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RayTaskError) and isinstance(cause.cause, BaseException):
            return fault_of(cause.cause)
        if isinstance(cause, WorkerError):
            return fault_of(cause.error)
        fault = _kind_of(cause)
        if fault is not None:
            own = isinstance(error, OwnNetworkError)  # its own words name the network
            return replace(fault, reason=first_line(error)) if own else fault
        cause = cause.__cause__
    if isinstance(error, OwnNetworkError):
        return Fault("environment", first_line(error))
    if isinstance(error, TrialDiverged):
        return Fault("verdict", str(error))
    return Fault("verdict", f"{type(error).__name__}: {first_line(error)}")


def _kind_of(error: BaseException) -> Fault | None:
    """A fault of kind "lost" or "environment"; None for all others."""
    if _gpu_lacks_memory(error):
        return Fault("lost", f"out of the GPU's memory: {first_line(error)}", memory="gpu")
    if isinstance(error, OutOfMemoryError) or lacks_memory(error):
        return Fault("lost", f"out of memory: {first_line(error)}", memory="node")
    if isinstance(error, RayActorError) and error.actor_init_failed:
        # The worker itself cannot start, before any job; usually a package is missing.
        return Fault("environment", f"a worker cannot start: {_last_line(error)}")
    if isinstance(error, _RAY_ENVIRONMENT):
        # In some, the second line is the cause.
        said = " ".join(_lines(error)[:2])
        return Fault("environment", f"{type(error).__name__}: {said}")
    if isinstance(error, RayError) and not isinstance(error, RayTaskError):
        return Fault("lost", f"worker lost: {first_line(error)}")
    if isinstance(error, (_ACCELERATOR, TuneError, ConnectionError)) or _device_failed(error):
        return Fault("lost", f"worker lost: {type(error).__name__}: {first_line(error)}")
    if isinstance(error, OSError):
        kind: Kind = "lost" if error.errno in _PASSING else "environment"
        return Fault(kind, in_words(error))
    if isinstance(error, EnvironmentFault):
        return Fault("environment", str(error))
    if isinstance(error, _ENVIRONMENT):
        return Fault("environment", first_line(error))
    return None


def _gpu_lacks_memory(error: BaseException) -> bool:
    """Whether torch, or a library of the GPU, could not allocate the GPU's memory."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    said = str(error)
    if isinstance(error, _ACCELERATOR):
        return "out of memory" in said
    signs = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "CUDA out of memory")
    return type(error) is RuntimeError and any(sign in said for sign in signs)


def _device_failed(error: BaseException) -> bool:
    """Whether a library of the GPU, or the system's threads, failed; both are a RuntimeError."""
    signs = ("CUBLAS_STATUS_", "CUDNN_STATUS_", "can't start new thread")
    return type(error) is RuntimeError and any(sign in str(error) for sign in signs)


def first_line(error: BaseException) -> str:
    """The first line of an exception's message."""
    return _lines(error)[0]


def _last_line(error: BaseException) -> str:
    return _lines(error)[-1]


def _lines(error: BaseException) -> list[str]:
    lines = [line.strip() for line in str(error).splitlines()]
    return [line for line in lines if line] or ["no message"]
