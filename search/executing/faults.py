"""Faults are of three kinds, and this module alone says of which kind one is.

*lost*: the worker went, by its process, its node, or for want of memory. The job itself may be
fine and is handed out again, a bounded number of times. *environment*: the machine cannot do any
job as it is now (no space, a folder that is not mounted, a promised GPU that is not there). No
configuration is to blame: nothing more is asked, and the jobs stay open. *verdict*: the
configuration cannot be trained; its trial fails. What a worker raises is judged on the worker, so
that its kind travels as a value; what Ray raises is judged by the driver.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
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
from shiftsearch.data.os_errors import in_words
from shiftsearch.model.device import GpuMissing
from shiftsearch.model.engine import TrialDiverged

Kind = Literal["lost", "environment", "verdict"]

_ENVIRONMENT = (DataError, GpuMissing, ImportError)
_RAY_ENVIRONMENT = (
    AuthenticationError,
    ObjectStoreFullError,
    OutOfDiskError,
    RuntimeEnvSetupError,
)
_MEMORY = (MemoryError, OutOfMemoryError, torch.OutOfMemoryError)
# Of a GPU that faulted; the process that saw it can use no GPU any more.
_ACCELERATOR = getattr(torch, "AcceleratorError", torch.OutOfMemoryError)
# A process, a socket or memory could not be had just now; all other OSErrors last.
_PASSING = (errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT)


class EnvironmentFault(RuntimeError):  # noqa: N818, named by its cause
    """The machine keeps the search from going on; the message says in one line what is wrong."""


@dataclass(frozen=True)
class Fault:
    """Why a job did not come to a result.

    Attributes:
        kind: "lost", "environment" or "verdict".
        reason: one line.
    """

    kind: Kind
    reason: str


def fault_of(error: BaseException) -> Fault:
    """The kind of a fault and its reason, by the exception's type and error number.

    An exception that was raised from another one is of that one's kind, unless it has its own.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RayTaskError) and isinstance(cause.cause, BaseException):
            return fault_of(cause.cause)
        fault = _kind_of(cause)
        if fault is not None:
            return fault
        cause = cause.__cause__
    if isinstance(error, TrialDiverged):
        return Fault("verdict", str(error))
    return Fault("verdict", f"{type(error).__name__}: {first_line(error)}")


def _kind_of(error: BaseException) -> Fault | None:
    """A fault that is lost or the environment's; None for all others."""
    if isinstance(error, _MEMORY) or _torch_lacks_memory(error):
        return Fault("lost", f"out of memory: {first_line(error)}")
    if isinstance(error, RayActorError) and error.actor_init_failed:
        # No job was looked at yet: the worker itself cannot start, mostly for want of a package.
        return Fault("environment", f"a worker cannot start: {_last_line(error)}")
    if isinstance(error, _RAY_ENVIRONMENT):
        return Fault("environment", f"{type(error).__name__}: {first_line(error)}")
    if isinstance(error, RayError) and not isinstance(error, RayTaskError):
        return Fault("lost", f"worker lost: {first_line(error)}")
    if isinstance(error, (_ACCELERATOR, TuneError, ConnectionError)):
        return Fault("lost", f"worker lost: {type(error).__name__}: {first_line(error)}")
    if isinstance(error, OSError):
        kind: Kind = "lost" if error.errno in _PASSING else "environment"
        return Fault(kind, in_words(error))
    if isinstance(error, EnvironmentFault):
        return Fault("environment", str(error))
    if isinstance(error, _ENVIRONMENT):
        return Fault("environment", first_line(error))
    return None


def _torch_lacks_memory(error: BaseException) -> bool:
    """Whether torch could allocate no memory of the CPU, for which it has no type of its own."""
    return type(error) is RuntimeError and "DefaultCPUAllocator" in str(error)


def first_line(error: BaseException) -> str:
    """What an exception says, without its traceback."""
    return _lines(error)[0]


def _last_line(error: BaseException) -> str:
    return _lines(error)[-1]


def _lines(error: BaseException) -> list[str]:
    lines = [line.strip() for line in str(error).splitlines()]
    return [line for line in lines if line] or ["no message"]
