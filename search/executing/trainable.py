"""One job on a Ray worker.

A worker process does many jobs (`reuse_actors`), so what all of them need is opened once per
process: the device, and the packed dataset, read from its path and moved there. Only paths,
settings and numbers are sent through Ray.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ray import tune

from shiftsearch.data.cache import open_pack
from shiftsearch.model.device import Device, choose_device
from shiftsearch.model.engine import TrialDiverged
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.protocol import ProtocolData, ProtocolRun, prepare, run_protocol
from shiftsearch.model.report import StageReport
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.stage import StageResult
from shiftsearch.model.store import open_store
from shiftsearch.search.executing.faults import fault_of
from shiftsearch.search.executing.jobs import Job

REPORT = "report"


@dataclass(frozen=True)
class WorkerContext:
    """What a worker needs beside the job; plain values, paths absolute.

    Attributes:
        pack: folder of the packed dataset.
        digest: of the dataset; a pack with another one is refused.
        store: its address, see `model.store.open_store`.
        protocol: `model.hyperparameters.Protocol` as JSON text.
        seed: the study's.
        cpus, gpus: resources of one trial.
        dtype: "auto", "bfloat16" or "float32".
    """

    pack: str
    digest: str
    store: str
    protocol: str
    seed: int
    cpus: float
    gpus: float
    dtype: str


def encode(context: WorkerContext, job: Job) -> dict[str, str]:
    """Job and context as a Ray Tune configuration: as text, which Ray leaves as it is."""
    return {"context": json.dumps(asdict(context)), "job": json.dumps(asdict(job))}


def decode(config: Mapping[str, str]) -> tuple[WorkerContext, Job]:
    """What `encode` was given."""
    return WorkerContext(**json.loads(config["context"])), Job(**json.loads(config["job"]))


def run_job(config: Mapping[str, str]) -> None:
    """Ray Tune's trainable: one job, reported epoch by epoch, then as a whole.

    Reports are JSON text under the one key `REPORT`, because Ray flattens nested ones:
    `{"event": "placed", "node", "device"}`, `{"event": "epoch", "stage", "row"}`,
    `{"event": "intermediate", "epochs", "value"}`, `{"event": "baseline"}` when the baseline is
    trained to the end, and last `{"event": "result", "result"}` or `{"event": "failed", "kind",
    "reason"}` with the kind of a `search.executing.faults.Fault`. After a diverged training the
    worker goes on with the next job; after anything else that was raised, Ray replaces it.
    """
    context, job = decode(config)
    try:
        _report(_work(context, job))
    except Exception as error:
        fault = fault_of(error)
        # Several nodes may do the jobs; what is wrong with one of them has to be looked for there.
        where = f"on {platform.node()}: " if fault.kind == "environment" else ""
        _report({"event": "failed", "kind": fault.kind, "reason": f"{where}{fault.reason}"})
        if not isinstance(error, TrialDiverged):
            raise


def _work(context: WorkerContext, job: Job) -> dict[str, Any]:
    protocol = _protocol(context)
    device, data = _workbench(context)
    _report({"event": "placed", "node": platform.node(), "device": _place(device)})

    def on_epoch(stage: str, row: Mapping[str, float]) -> None:
        _report({"event": "epoch", "stage": stage, "row": dict(row)})

    def on_report(epochs: int, baseline: StageReport, fine_tune: StageReport) -> None:
        del baseline
        # When the driver stops the trial, this call does not return.
        _report({"event": "intermediate", "epochs": epochs, "value": fine_tune.test2.accuracy})

    def on_baseline(baseline: StageResult) -> None:
        _report({"event": "baseline", "epochs": baseline.epochs})

    run = ProtocolRun(
        Hyperparameters.from_flat(job.configuration),
        data,
        protocol,
        open_store(context.store),
        device,
        seed=context.seed,
        replicate=job.replicate,
        on_epoch=on_epoch,
    )
    report = run_protocol(run, job.report_at, on_report, on_baseline)
    return {"event": "result", "result": report.result}


def _place(device: Device) -> str:
    """The device in words, with the numbers of the GPUs that Ray gave to this worker."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return f"{device.name} {shown}".rstrip() if device.name == "cuda" else device.name


def _report(content: Mapping[str, Any]) -> None:
    text = json.dumps(content, allow_nan=False, default=ProtocolResult.to_json)
    tune.report({REPORT: text})


def _protocol(context: WorkerContext) -> Protocol:
    return Protocol.model_validate_json(context.protocol)


@lru_cache(maxsize=1)
def _workbench(context: WorkerContext) -> tuple[Device, ProtocolData]:
    """Device and data of this process."""
    device = choose_device(context.cpus, context.gpus, context.dtype)
    device.apply()
    dataset = open_pack(Path(context.pack), digest=context.digest)
    return device, prepare(dataset, _protocol(context), device)
