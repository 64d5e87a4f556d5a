"""A trainable that trains nothing and can go wrong in every way, for tests on Ray.

`plan.json` in the context's `store` folder says what the job of each name does; others just work,
for `FAKE_SECONDS`. What a job did lies beside, one file for each attempt. A job whose plan has
`until_begun` works on until the jobs of these names have begun, one with `until_dead` until the
workers of these jobs have died, one with `until_stopped` until they stand still, and one with
`until_again` until these jobs have begun again: nothing depends on how long a worker takes to
start.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune

from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.concurrency import Concurrency
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.executing.places import Place
from shiftsearch.search.executing.reports import REPORT
from shiftsearch.search.executing.resources import Resources
from shiftsearch.search.executing.trainable import WorkerContext
from shiftsearch.search.executing.tune import run_jobs
from tests.search.fake_study import result_of

EPOCHS = 3


def fake_run_job(config: Mapping[str, str]) -> None:
    """Replaces `search.executing.trainable.run_job`. It is pickled with all that it needs."""
    fields = json.loads(config["job"])
    number, phase = fields["number"], fields["phase"]
    folder = Path(json.loads(config["context"])["store"])
    name = f"{phase}-{number}-{fields['replicate']}"
    folder.mkdir(parents=True, exist_ok=True)
    plans = folder / "plan.json"
    plan = json.loads(plans.read_text()).get(name, {}) if plans.exists() else {}
    seconds = plan.get("seconds", float(os.environ.get("FAKE_SECONDS", "0")))
    attempt = sum(1 for _ in folder.glob(f"{name}-attempt-*"))
    runtime = ray.get_runtime_context()
    seen = {
        "number": number,
        "attempt": attempt,
        "pid": os.getpid(),
        "node": runtime.get_node_id(),
        "gpus": ray.get_gpu_ids(),
        "assigned": runtime.get_assigned_resources(),
        "cwd": str(Path.cwd()),
        "trial_folder": tune.get_context().get_trial_dir(),
        "timeout": os.environ.get("TUNE_FUNCTION_THREAD_TIMEOUT_S"),
        "configuration": fields["configuration"],
        "begin": time.monotonic(),
    }
    record = folder / f"{name}-attempt-{attempt}"
    record.write_text(json.dumps(seen))
    result = result_of(fields["configuration"]).to_json()
    # On the one node of a local Ray, as `run_job` does.
    send({"event": "begun", "node_id": "", "pid": seen["pid"]})
    send({"event": "placed", "node": "here", "node_id": seen["node"], "device": "none"})
    for epoch in range(1, EPOCHS + 1):
        time.sleep(seconds / EPOCHS)
        # Epochs look better than the result, and the last one worst.
        row = {"epoch": epoch, "validation_accuracy": 0.99 - 0.2 * epoch}
        send({"event": "epoch", "stage": "baseline", "row": row})
        if plan.get("do") == "kill" and attempt < plan["times"] and epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if plan.get("do") == "hang" and attempt < plan["times"] and epoch == 2:
            os.kill(os.getpid(), signal.SIGSTOP)
        if plan.get("do") == "bare":
            tune.report({"loss": 1.5, "nested": {"loss": float("nan")}})
    if plan.get("do") == "fill gpu" and runtime.get_assigned_resources()["GPU"] < 1:
        send({"event": "failed", "kind": "lost", "reason": "CUDA OOM", "memory": "gpu"})
        raise RuntimeError("CUDA out of memory")
    if plan.get("do") == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "/mnt/store")
    if plan.get("do") == "raise":
        raise RuntimeError("no such layer\nof many lines")
    if plan.get("do") == "silent":
        return
    for epochs in fields["report_at"].values():
        send({"event": "intermediate", "epochs": epochs, "value": plan["rungs"][str(epochs)]})
    send({"event": "baseline", "epochs": EPOCHS})
    for other in plan.get("until_begun", ()):
        wait_for(lambda other=other: begun(folder, other))
    for other in plan.get("until_dead", ()):
        wait_for(lambda other=other: is_dead(begun(folder, other)))
    for other in plan.get("until_stopped", ()):
        wait_for(lambda other=other: state_of(begun(folder, other)) in ("T", "Z", ""))
    for other in plan.get("until_again", ()):
        wait_for((folder / f"{other}-attempt-1").exists)
    if plan.get("do") == "nan":
        result["fine_tune"]["test2"]["accuracy"] = float("nan")
    record.write_text(json.dumps({**seen, "end": time.monotonic()}))
    if plan.get("do") in ("die idle", "hang idle"):
        number = signal.SIGKILL if plan["do"] == "die idle" else signal.SIGSTOP
        threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
    if plan.get("do") == "stay":
        # Told to stop, the thread does not leave; the next job's worker cannot be this one.
        os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "1"
        with contextlib.suppress(BaseException):
            send({"event": "result", "result": result})
        time.sleep(60)
    if plan.get("do") == "fail":
        send(
            {"event": "failed", "kind": "verdict", "reason": "baseline epoch 2: training loss nan"}
        )
    else:
        send({"event": "result", "result": result})


def begun(folder: Path, name: str) -> int:
    """The process of a job's first attempt; 0 before it has begun."""
    try:
        return int(json.loads((folder / f"{name}-attempt-0").read_text())["pid"])
    except (OSError, ValueError):  # not there, or half written
        return 0


def state_of(pid: int) -> str:
    """The kernel's letter for a process's state, "" if there is none; 0 is one that works."""
    try:
        return Path(f"/proc/{pid or 'self'}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def is_dead(pid: int) -> bool:
    """Whether a process has ended; 0 is none that could have."""
    return state_of(pid) in ("", "Z")


def wait_for(true: Callable[[], object]) -> None:
    end = time.monotonic() + 100
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain for another job")
        time.sleep(0.05)


def failing_run_job(config: Mapping[str, str]) -> None:
    """Every job fails."""
    raise RuntimeError(f"job of {len(config)} texts cannot be done")


def full_disk_run_job(config: Mapping[str, str]) -> None:
    """No job can store anything; the worker says so, as `run_job` does."""
    error = OSError(errno.ENOSPC, "No space left on device", "/mnt/store")
    fields = {"kind": "environment", "reason": f"{error.filename}: {error.strerror}"}
    send({"event": "failed", **fields})
    raise error


def send(content: Mapping[str, Any]) -> None:
    tune.report({REPORT: json.dumps([content], allow_nan=False)})


class Recorder:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, Any]] = []

    def started(self, job: Job) -> None:
        self.heard.append(("started", job.number, dict(job.configuration)))

    def placed(self, job: Job, place: Place) -> None:
        self.heard.append(("placed", job.number, (place.host, place.device)))

    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        self.heard.append(("epoch", job.number, (stage, row["epoch"])))

    def ended(self, job: Job, state: str, detail: str, result: ProtocolResult | None) -> None:
        self.heard.append(("ended", job.number, (state, detail, result)))

    def of(self, number: int) -> list[tuple[str, Any]]:
        return [(kind, what) for kind, n, what in self.heard if n == number]


def run_fake_jobs(
    source: Any,
    listeners: Any,
    folder: Path,
    plan: Mapping[str, Mapping[str, Any]],
    resources: Resources | None = None,
    concurrency: int = 2,
    on_step: Callable[[], None] = lambda: None,
    at_once: Concurrency | None = None,
    silent_seconds: float = 600.0,
) -> None:
    """`run_jobs` on the connected Ray with half a CPU per job."""
    (folder / "plan.json").write_text(json.dumps(plan))
    context = WorkerContext("/pack", "digest", str(folder), "{}", 0, 0.5, 0.0, "float32")
    resources = resources or Resources(0.5, 0.0, concurrency, "tests")
    run_jobs(source, listeners, context, resources, folder, on_step, at_once, silent_seconds)


def attempts(folder: Path, number: int | str = "*") -> list[dict[str, Any]]:
    """What the jobs recorded, in the order of their start."""
    records = [json.loads(p.read_text()) for p in folder.glob(f"*-{number}-*-attempt-*")]
    return sorted(records, key=lambda r: float(r["begin"]))
