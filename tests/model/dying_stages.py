"""Run a stage in child processes that kill themselves with SIGKILL at named points.

    python dying_stages.py DTYPE:STAGE:STORE[:POINT,...]...

POINT is a name and a number: `epoch-2` (after the second epoch's row), `half-3` (the third file
is half written), `synced-3` (it is written and not published), `published-3` (it is published) or
`random-7` (after a time drawn from seed 7). For each STORE one child after the
other runs the stage on it and dies at its point; a last one runs to the end. The parent imports
torch and Numba once and computes nothing itself, so that children start by fork.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import shiftsearch.model.fused  # imports Numba
import shiftsearch.model.stage
import shiftsearch.model.store
from shiftsearch.model.course import Course
from shiftsearch.model.device import Device
from shiftsearch.model.engine import TensorSplit
from shiftsearch.model.hyperparameters import (
    Augmentation,
    FineTuneHyperparameters,
    Schedule,
    StageHyperparameters,
)
from shiftsearch.model.network import allocate, initialise
from shiftsearch.model.store import open_store
from shiftsearch.model.training import run_stage

EPOCHS = 5
AUGMENTATION = Augmentation(rotation=10.0, translation=1.0, noise=0.02)
HYPERPARAMETERS = {
    "baseline": StageHyperparameters(batch_size=16, augmentation=AUGMENTATION),
    "fine_tune": FineTuneHyperparameters(batch_size=16, augmentation=AUGMENTATION),
}


def make_split(count: int) -> TensorSplit:
    draws = torch.Generator().manual_seed(count)
    images = torch.randint(256, (count, 1, 16, 16), generator=draws, dtype=torch.uint8)
    return TensorSplit(images, torch.arange(count) % 3, f"{count}")


def run(
    store: Path, stage: str, dtype: str, on_epoch: shiftsearch.model.stage.OnEpoch | None
) -> None:
    device = Device("cpu", dtype, 1, "")
    device.apply()
    train, validation = make_split(40), make_split(30)
    schedule = Schedule(max_epochs=EPOCHS, patience=EPOCHS, reduce_after=1)
    course = Course(
        stage,
        HYPERPARAMETERS[stage],
        schedule,
        train.digest,
        validation.digest,
        classes=3,
        image_size=(16, 16),
        seed=0,
        replicate=0,
    )
    start = None
    if stage == "fine_tune":
        network = allocate(3, (16, 16))
        initialise(network, torch.Generator().manual_seed(0))
        start = network.state_dict()
    run_stage(course, train, validation, open_store(store), device, start=start, on_epoch=on_epoch)


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> shiftsearch.model.stage.OnEpoch | None:
    """Make this process die at `point`; a callback for the epochs, if it is needed."""
    name, _, number = point.partition("-")
    if name == "epoch":
        return lambda _, row: die() if row["epoch"] == int(number) else None
    if name == "random":
        signal.signal(signal.SIGALRM, die)
        signal.setitimer(signal.ITIMER_REAL, random.Random(int(number)).uniform(0.01, 0.5))
    elif name == "half":
        shiftsearch.model.store.write_atomically = at(
            int(number), write_half, shiftsearch.model.store.write_atomically
        )
    elif name == "synced":
        os.fsync = at(int(number), die, os.fsync)
    elif name == "published":
        write = shiftsearch.model.store.write_atomically
        shiftsearch.model.store.write_atomically = at(
            int(number), lambda *args: (write(*args), die()), write
        )
    else:
        raise SystemExit(f"unknown point {point!r}")
    return None


def at(number: int, instead: Callable[..., Any], original: Callable[..., Any]) -> Any:
    """`original`, but at the `number`-th call `instead`."""
    calls = 0

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return (instead if calls == number else original)(*args)

    return counted


def write_half(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / ".writing-half").write_bytes(content[: len(content) // 2])
    die()


def main(*runs: str) -> None:
    shiftsearch.model.stage.SAVE_EVERY = 0.0
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # imports for 1.4 s, once for all
    for dtype, stage, store, *points in (r.replace(",", ":").split(":") for r in runs):
        for point in [*points, None]:
            child = os.fork()
            if child == 0:
                run(Path(store), stage, dtype, arm(point) if point else None)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            allowed = {signal.SIGKILL} if point else {0}
            if status not in allowed | ({0} if (point or "").startswith("random") else set()):
                raise SystemExit(f"{stage} {point}: status {status}, expected {allowed}")


if __name__ == "__main__":
    main(*sys.argv[1:])
