"""One job on a Ray worker.

A worker process does many jobs (`reuse_actors`). So the device is chosen, and the packed dataset
read and moved to it, once per process. Only paths, settings and numbers are sent through Ray.
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

import ray

from shiftsearch.data.cache import open_pack
from shiftsearch.model.collecting import Note
from shiftsearch.model.device import Device, choose_device
from shiftsearch.model.engine import TrialDiverged
from shiftsearch.model.gpu_memory import bound
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.objective import ACCURACY, OBJECTIVES
from shiftsearch.model.own_network import give
from shiftsearch.model.own_source import find
from shiftsearch.model.prepared import ProtocolData, prepare
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.remote import RemoteFolder
from shiftsearch.model.report import StageReport
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.stage import StageResult
from shiftsearch.model.store import open_store
from shiftsearch.search.executing.faults import fault_of
from shiftsearch.search.executing.fetching import on_this_node
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.executing.ray_private import session_path
from shiftsearch.search.executing.reports import Reports


@dataclass(frozen=True)
class WorkerContext:
    """What a worker needs besides the job: plain values, paths absolute.

    Attributes:
        pack: folder of the packed dataset.
        digest: digest of the dataset; a pack with another digest is refused.
        store: address of the store, see `model.store.open_store`.
        protocol: `model.hyperparameters.Protocol` as JSON text.
        seed: the study's seed.
        cpus, gpus: resources of one trial.
        dtype: "auto", "bfloat16" or "float32".
        objective: name of the objective, which intermediate values are.
        network: `MODULE:FUNCTION@DIGEST` of the run's own network; empty without one.
        sources: folder that holds its source.
        joined: whether the cluster was joined, not started; then a place has the node's id.
        notes: whether a job notes its courses in the store, see `model.collecting.Note`.
        remote: URL of a copy of the run's folder, for nodes that do not see the folder; empty if
            there is none.
    """

    pack: str
    digest: str
    store: str
    protocol: str
    seed: int
    cpus: float
    gpus: float
    dtype: str
    objective: str = ACCURACY.name
    network: str = ""
    sources: str = ""
    joined: bool = False
    notes: bool = False
    remote: str = ""


def encode(context: WorkerContext, job: Job) -> dict[str, str]:
    """Job and context as a Ray Tune configuration; as text, because Ray does not change text."""
    return {"context": json.dumps(asdict(context)), "job": json.dumps(asdict(job))}


def decode(config: Mapping[str, str]) -> tuple[WorkerContext, Job]:
    """The inverse of `encode`."""
    return WorkerContext(**json.loads(config["context"])), Job(**json.loads(config["job"]))


def run_job(config: Mapping[str, str]) -> None:
    """Ray Tune's trainable: does one job, and reports each epoch and the result.

    Its reports, of which those of epochs may travel with a later one: `{"event": "begun",
    "node_id", "pid"}`, `{"event": "placed", "node", "node_id", "device"}` when its data is ready,
    `{"event": "epoch", "stage", "row"}`, `{"event": "baseline"}` when that is trained to the end,
    `{"event": "intermediate", "epochs", "value"}`, and last `{"event": "result", "result"}` or
    `{"event": "failed", "kind", "reason"}` with the kind of a `search.executing.faults.Fault`, and
    `"memory": "gpu"` or `"node"` if that ran out. After a diverged training the worker goes on
    with the next job; after any other exception Ray replaces it.
    """
    context, job = decode(config)
    reports = Reports(ProtocolResult.to_json)
    try:
        reports.send(_work(context, job, reports))
    except Exception as error:
        fault = fault_of(error)
        # There may be several nodes, and the fault must be repaired on this one.
        where = f"on {platform.node()}: " if fault.kind == "environment" else ""
        more = {"memory": fault.memory} if fault.memory else {}
        reason = f"{where}{fault.reason}"
        reports.send({"event": "failed", "kind": fault.kind, "reason": reason, **more})
        if not isinstance(error, TrialDiverged):
            raise


def _work(context: WorkerContext, job: Job, reports: Reports) -> dict[str, Any]:
    node_id = ray.get_runtime_context().get_node_id() if context.joined else ""
    # Only the first job of a process may take long to find its data.
    begin = reports.wait if workbench.cache_info().currsize else reports.send
    begin({"event": "begun", "node_id": node_id, "pid": os.getpid()})
    protocol = _protocol(context)
    device, data = workbench(context)
    where = {"node": platform.node(), "node_id": node_id, "device": _place(device)}
    reports.send({"event": "placed", **where})

    def on_epoch(stage: str, row: Mapping[str, float]) -> None:
        reports.later({"event": "epoch", "stage": stage, "row": dict(row)})

    def on_report(epochs: int, baseline: StageReport, fine_tune: StageReport) -> None:
        del baseline
        # When the driver stops the trial, this call does not return.
        value = OBJECTIVES[context.objective].of_split(fine_tune.test2)
        reports.send({"event": "intermediate", "epochs": epochs, "value": value})

    def on_baseline(baseline: StageResult) -> None:
        reports.send({"event": "baseline", "epochs": baseline.epochs})

    store = open_store(context.store)
    note = Note(store, job.name, {"phase": job.phase, "number": job.number})
    run = ProtocolRun(
        Hyperparameters.from_flat(job.configuration),
        data,
        protocol,
        store,
        device,
        seed=context.seed,
        replicate=job.replicate,
        on_epoch=on_epoch,
        on_course=note.add if context.notes else None,
    )
    # A new replicate may be exported. Replicate 0 is the search's, also when it is repeated.
    report = run_protocol(run, job.report_at, on_report, on_baseline, with_model=job.replicate > 0)
    return {"event": "result", "result": report.result}


def _place(device: Device) -> str:
    """The device's name, with the numbers of the GPUs that Ray gave to this worker."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return f"{device.name} {shown}".rstrip() if device.name == "cuda" else device.name


def _protocol(context: WorkerContext) -> Protocol:
    return Protocol.model_validate_json(context.protocol)


def _seen(context: WorkerContext, folder: str, version: str) -> Path:
    """A folder of the run, or this node's copy of it if the node does not see the run.

    A run that is begun again under the same name may hold something else, so `version` names it.
    """
    if Path(folder).exists() or not context.remote:
        return Path(folder)
    there = RemoteFolder(context.remote).folder(Path(folder).name)
    return on_this_node(there, session_path(), version)


@lru_cache(maxsize=1)
def workbench(context: WorkerContext) -> tuple[Device, ProtocolData]:
    """The device and the data of this process, which is given the run's own network."""
    device = choose_device(context.cpus, context.gpus, context.dtype)
    device.apply()
    if device.name == "cuda":
        bound(context.gpus)
    dataset = open_pack(_seen(context, context.pack, context.digest), digest=context.digest)
    if context.network:
        source = find(context.network, [_seen(context, context.sources, context.network)])
        give(source.name, source.load(), len(dataset.classes), dataset.image_size)
    return device, prepare(dataset, _protocol(context), device)
