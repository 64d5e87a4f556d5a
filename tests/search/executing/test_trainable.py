"""What is sent to a worker and back: small text, paths, finite numbers; and one real search."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import platform
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from ray import cloudpickle, tune

from shiftsearch.data.cache import save_pack
from shiftsearch.data.dataset import DataError, Dataset
from shiftsearch.model.device import choose_device
from shiftsearch.model.engine import TrialDiverged
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, Schedule
from shiftsearch.model.objective import BALANCED_ACCURACY
from shiftsearch.model.own_network import OwnNetworkError
from shiftsearch.model.own_source import find
from shiftsearch.model.prepared import prepare
from shiftsearch.model.protocol import ProtocolRun
from shiftsearch.model.store import open_store
from shiftsearch.search.executing import trainable
from shiftsearch.search.executing.jobs import Job, Phase
from shiftsearch.search.executing.reports import EVERY, REPORT, Reports
from shiftsearch.search.executing.resources import Resources
from shiftsearch.search.executing.trainable import WorkerContext, decode, encode, run_job
from shiftsearch.search.executing.tune import run_jobs
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import REFERENCE, Space
from tests.search.fake_study import open_study
from tests.search.fake_trainable import Recorder

pytestmark = pytest.mark.integration

CONTEXT = WorkerContext("/run/dataset", "0123", "/run/store", "{}", 7, 1.0, 0.25, "float32")
JOB = Job("retrain", 12, 3, dict(REFERENCE), "TRAIN+TEST", {"rung_1": 1, "rung_3": 3})


def test_2_21g_nothing_but_paths_settings_and_numbers_travels() -> None:
    """2.21g: data caught in the trainable would travel with each of its pickles."""
    assert len(cloudpickle.dumps(run_job)) < 200
    config = encode(CONTEXT, JOB)
    assert sum(map(len, config.values())) < 2000
    assert all(isinstance(value, str) for value in config.values())  # Ray neither flattens these
    assert decode(config) == (CONTEXT, JOB)
    assert set(asdict(CONTEXT)) == {
        *("pack", "digest", "store", "protocol", "seed", "cpus", "gpus", "dtype", "objective"),
        *("network", "sources", "joined", "notes", "remote"),
    }


def test_configurations_arrive_as_they_were_hashed() -> None:
    """Types too: a float 0.0 that arrived as 0 would have another key in the store."""
    _, arrived = decode(encode(CONTEXT, JOB))
    assert json.dumps(dict(arrived.configuration)) == json.dumps(dict(REFERENCE))


def test_2_3_nothing_non_finite_leaves_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """2.3, 2.20e: the report raises, which fails the trial; no bare NaN reaches a file."""
    sent: list[Any] = []
    monkeypatch.setattr(tune, "report", sent.append)
    reports = Reports()
    reports.wait({"event": "begun"})
    with pytest.raises(ValueError, match="Out of range float values"):
        reports.send({"event": "result", "result": {"test2_accuracy": math.nan}})
    assert sent == []
    result = {"event": "result", "result": {"test2_accuracy": 0.5}}
    reports.send(result)
    assert list(sent[0]) == [REPORT]  # one flat key, which holds text
    assert json.loads(sent[0][REPORT]) == [{"event": "begun"}, result]


def test_short_epochs_travel_together_and_lose_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[int]] = []
    monkeypatch.setattr(tune, "report", lambda report: sent.append(json.loads(report[REPORT])))
    now = 0.0
    reports = Reports(clock=lambda: now)
    for number in range(8):
        reports.later({"epoch": number})
        now += 0.4 * EVERY
    reports.send({"result": 1})
    epochs = [{"epoch": number} for number in range(8)]
    assert sent == [epochs[:1], epochs[1:4], epochs[4:7], [epochs[7], {"result": 1}]]


@pytest.mark.parametrize(
    ("gpus", "error", "kind", "reason"),
    [
        (0.25, None, "environment", "gpus_per_trial is 0.25, but torch sees no GPU"),
        (0.0, None, "environment", "/run/dataset: "),
        (
            0.0,
            OSError(errno.ENOSPC, "No space left on device", "/s"),
            "environment",
            "/s: No space",
        ),
        (0.0, MemoryError(), "lost", "out of memory"),
        (0.5, torch.OutOfMemoryError("CUDA OOM"), "lost", "the GPU's memory: CUDA OOM"),
        (0.0, RuntimeError("no such layer\nat all"), "verdict", "RuntimeError: no such layer"),
        (0.0, TrialDiverged("loss nan"), "verdict", "loss nan"),
    ],
)
def test_the_worker_says_of_which_kind_a_fault_is(
    monkeypatch: pytest.MonkeyPatch, gpus: float, error: Exception | None, kind: str, reason: str
) -> None:
    """The fault is in the last report; its exception comes through Ray, too."""
    sent: list[Any] = []
    monkeypatch.setattr(tune, "report", lambda report: sent.extend(json.loads(report["report"])))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    if error is not None:
        monkeypatch.setattr(trainable, "workbench", Mock(side_effect=error))
    context = replace(CONTEXT, gpus=gpus, protocol=Protocol().model_dump_json())
    ends_worker = not isinstance(error, TrialDiverged)
    with pytest.raises(Exception) if ends_worker else contextlib.nullcontext():
        run_job(encode(context, JOB))
    begun, report = sent
    assert begun == {"event": "begun", "node_id": "", "pid": os.getpid()}
    assert (report["event"], report["kind"]) == ("failed", kind)
    assert reason in report["reason"]
    assert (report.get("memory") == "gpu") is isinstance(error, torch.OutOfMemoryError)
    assert (platform.node() in report["reason"]) is (kind == "environment")


def test_a_node_that_does_not_see_the_run_takes_the_dataset_from_its_url(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pack(tiny_dataset, tmp_path / "copy" / "dataset")
    monkeypatch.setattr(trainable, "session_path", lambda: str(tmp_path / "session"))
    here = replace(
        CONTEXT,
        pack=str(tmp_path / "not seen" / "dataset"),
        sources=str(tmp_path / "not seen" / "network"),
        digest=tiny_dataset.digest,
        protocol=Protocol().model_dump_json(),
        gpus=0.0,
    )
    with pytest.raises(DataError):
        trainable.workbench(here)
    there = replace(here, remote=(tmp_path / "copy").as_uri())
    data = trainable.workbench(there)[1]
    assert data.classes == len(tiny_dataset.classes)
    assert (tmp_path / "session").is_dir()
    other = Dataset(tuple(name.upper() for name in tiny_dataset.classes), tiny_dataset.splits)
    save_pack(other, tmp_path / "copy" / "dataset")  # a run that was begun again with other data
    trainable.workbench(replace(there, digest=other.digest))
    function = 'def build(classes, size):\n    raise ValueError("{}")\n'
    for said in ("the first", "the second"):
        (tmp_path / "own.py").write_text(function.format(said))
        source = find("own:build", [tmp_path])
        source.keep(tmp_path / "copy" / "network")
        with pytest.raises(OwnNetworkError, match=said):
            trainable.workbench(replace(there, digest=other.digest, network=source.name))


def test_a_worker_bounds_its_tensors_to_its_share_of_the_gpu(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pack(tiny_dataset, tmp_path / "pack")
    context = replace(
        CONTEXT,
        pack=str(tmp_path / "pack"),
        digest=tiny_dataset.digest,
        protocol=Protocol().model_dump_json(),
    )
    bounded: list[float] = []
    monkeypatch.setattr(trainable, "bound", bounded.append)
    for gpus, name in ((0.0, "cpu"), (0.25, "cuda")):
        # The data stays on the CPU: only the choice is pretended.
        pretended = Mock(torch_device=torch.device("cpu"))
        pretended.name = name
        monkeypatch.setattr(trainable, "choose_device", lambda *_, chosen=pretended: chosen)
        trainable.workbench(replace(context, gpus=gpus))
        assert bounded == ([0.25] if gpus else [])
    trainable.workbench.cache_clear()


@pytest.mark.parametrize(("phase", "replicate"), [("search", 0), ("retrain", 0), ("retrain", 3)])
def test_only_a_new_replicate_gets_a_model_besides_its_folds(
    phase: Phase,
    replicate: int,
    tiny_dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_pack(tiny_dataset, tmp_path / "pack")
    protocol = Protocol(
        baseline=Schedule(max_epochs=1), fine_tune=Schedule(max_epochs=1), folds=2, holdout=0
    )
    context = WorkerContext(
        str(tmp_path / "pack"),
        tiny_dataset.digest,
        str(tmp_path / "store"),
        protocol.model_dump_json(),
        *(0, 1.0, 0.0, "float32"),
        joined=replicate == 3,
    )
    node = SimpleNamespace(get_node_id=lambda: "ab12")
    monkeypatch.setattr("ray.get_runtime_context", lambda: node)
    sent: list[Any] = []
    monkeypatch.setattr(tune, "report", lambda report: sent.extend(json.loads(report["report"])))
    run_job(encode(context, replace(JOB, phase=phase, replicate=replicate, report_at={})))
    (placed,) = (report for report in sent if report["event"] == "placed")
    assert (placed["node"], placed["device"]) == (platform.node(), "cpu")
    assert placed["node_id"] == ("ab12" if context.joined else "")
    assert sent[0] == {"event": "begun", "node_id": placed["node_id"], "pid": os.getpid()}
    stages = [report["stage"] for report in sent if report["event"] == "epoch"]
    model = ["fine_tune"] if replicate else []
    assert stages == ["baseline", "fold_1", "fold_2", *model]
    assert (
        sent[-1]["result"]["test2_accuracy"]
        == sent[-1]["result"]["fine_tune"]["test2"]["accuracy"]
    )


def test_intermediate_values_are_the_objective(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(tune, "report", lambda report: sent.extend(json.loads(report["report"])))
    test2 = tiny_dataset.splits["TEST2"]
    unequal = test2.take(np.flatnonzero((test2.labels < 2) | (np.arange(len(test2)) % 3 == 0)))
    dataset = Dataset(tiny_dataset.classes, {**tiny_dataset.splits, "TEST2": unequal})
    save_pack(dataset, tmp_path / "pack")
    schedule = Schedule(max_epochs=2)
    protocol = Protocol(baseline=schedule, fine_tune=schedule)
    context = replace(
        CONTEXT,
        pack=str(tmp_path / "pack"),
        digest=dataset.digest,
        store=str(tmp_path / "store"),
        protocol=protocol.model_dump_json(),
        gpus=0.0,
    )
    job = replace(JOB, report_at={"rung_1": 1})
    values = {}
    for name in ("accuracy", "balanced_accuracy"):
        run_job(encode(replace(context, objective=name), job))
        (values[name],) = (r["value"] for r in sent if r["event"] == "intermediate")
        sent.clear()
    device = choose_device(1.0, 0.0, "float32")
    data, store = prepare(dataset, protocol, device), open_store(context.store)
    run = ProtocolRun(Hyperparameters(), data, protocol, store, device, seed=7, replicate=3)
    found = run.report(run.fine_tune(run.baseline(until=1), "rung_1")).test2
    assert values["accuracy"] == found.accuracy
    assert values["balanced_accuracy"] == BALANCED_ACCURACY.of_confusion(found.confusion)
    assert values["accuracy"] != values["balanced_accuracy"]


def test_a_real_search_with_rungs_and_shared_baselines(
    local_ray: Path, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    """Sampled trials that are worse than the known-good point after one epoch end there."""
    splits = dict(tiny_dataset.splits)
    dataset = Dataset(tiny_dataset.classes, {**splits, "TEST2": splits["TEST"]})  # learnable
    save_pack(dataset, tmp_path / "pack")
    protocol = Protocol(baseline=Schedule(max_epochs=3), fine_tune=Schedule(max_epochs=4))
    context = WorkerContext(
        str(tmp_path / "pack"),
        dataset.digest,
        str(tmp_path / "store"),
        protocol.model_dump_json(),
        *(0, 1.0, 0.0, "float32"),
    )
    space = Space.parse(
        {
            stage: {"batch_size": 4, "learning_rate": {"low": 1e-7, "high": 1e-3, "log": True}}
            for stage in ("baseline", "fine_tune")
        }
    )
    good = space.point({f"{s}.learning_rate": 1e-3 for s in ("baseline", "fine_tune")}, "good")
    policy = Policy(branches=2, first_baselines=2, rungs=(1,), keep=0.01, min_population=2)
    study = open_study(tmp_path / "study.journal", 6, points=(good,), policy=policy, space=space)
    heard = Recorder()
    run_jobs(study, [heard], context, Resources(1.0, 0.0, 1, "tests"), tmp_path / "ray")
    assert study.finished
    trials = study.trials()
    assert len(trials) == 6
    seen: list[float] = []
    for trial in trials:
        if trial.branch_of is not None:
            root = trials[trial.branch_of]
            assert trial.state == "complete"
            assert not trial.intermediate
            assert trial.result is not None
            assert root.result is not None
            assert trial.result.baseline == root.result.baseline  # it was not trained again
            continue
        (value,) = trial.intermediate.values()
        seen.append(value)
        worse = trial.role == "sampled" and max(seen) > value
        assert trial.state == ("pruned" if worse else "complete")
        ends = [what[0] for kind, what in heard.of(trial.number) if kind == "ended"]
        assert ends == [trial.state]
        epochs = [what for kind, what in heard.of(trial.number) if kind == "epoch"]
        baseline = [epoch for stage, epoch in epochs if stage == "baseline"]
        assert baseline == ([1] if worse else [1, 2, 3])
    assert {t.state for t in trials} == {"complete", "pruned"}
    assert [t.number for t in trials if t.branch_of is not None]
    del local_ray
