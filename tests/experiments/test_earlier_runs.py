"""Runs that an earlier version began: continued, extended, reported on and evaluated.

The trials run in this process, one after the other, in place of Ray; see `tests/fixtures`.
"""

from __future__ import annotations

import contextlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray.tune
import torch

import shiftsearch.experiments.searching
import shiftsearch.search.executing.trainable
from shiftsearch.experiments.cli import WRONG_INPUT, main
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.engine import ComputedEpoch, EpochRequest
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.training import NetworkEngine
from shiftsearch.search.executing.jobs import JobSource, Listener
from shiftsearch.search.executing.reports import Reports
from shiftsearch.search.executing.resources import Node
from shiftsearch.search.executing.trainable import WorkerContext, decode, encode

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("gpu_of_others")]

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "runs_of_the_first_version.tar.xz"

CALLBACKS = "callbacks: ['spies:Spy', 'spies:Broken']"
SPIES = """
import sys
from pathlib import Path
import shiftsearch

class Spy(shiftsearch.Callback):
    def say(self, *words):
        with Path("heard.txt").open("a") as file:
            print(*words, file=file)
    def begun(self, folder, experiment):
        self.say("begun", folder.name)
    def started(self, training):
        self.say("started", training.name)
    def ended(self, training, state, reason, scores):
        self.say("ended", training.name, state, scores["test2_accuracy_after"])
    def concluded(self, folder, result):
        self.say("concluded", result["status"], (folder / "report.html").name)

class Broken(shiftsearch.Callback):
    def ended(self, training, state, reason, scores):
        sys.exit(7)
"""


def work_here(
    source: JobSource, listeners: Sequence[Listener], context: WorkerContext, *_: Any
) -> None:
    """Stands in for `search.executing.tune.run_jobs`: no other process, one job at a time."""
    while not source.finished:
        job = source.ask()
        assert job is not None
        for listener in listeners:
            listener.started(job)
        event = shiftsearch.search.executing.trainable._work(
            *decode(encode(context, job)), Reports(ProtocolResult.to_json)
        )
        source.share(job)
        source.finish(job, event["result"])
        for listener in listeners:
            listener.ended(job, "complete", "", event["result"])


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Stage and epoch of all that is computed from now on."""
    seen: list[tuple[str, int]] = []
    original = NetworkEngine.epoch

    def counted(self: NetworkEngine, request: EpochRequest) -> ComputedEpoch:
        seen.append((self.recipe.course.stage, request.number))
        return original(self, request)

    monkeypatch.setattr(NetworkEngine, "epoch", counted)
    return seen


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The archive, unpacked; trials run here."""
    monkeypatch.setenv("SHIFTSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shiftsearch.experiments.searching, "run_jobs", work_here)
    monkeypatch.setattr(
        shiftsearch.experiments.searching, "cluster", lambda *_: contextlib.nullcontext()
    )
    monkeypatch.setattr(
        shiftsearch.experiments.searching, "cluster_nodes", lambda: [Node(1.0, 0.0)]
    )
    monkeypatch.setattr(ray.tune, "report", lambda _: None)
    shiftsearch.search.executing.trainable.workbench.cache_clear()
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


NO_FORMATS = ("--set", "export.formats=[]")
"""They take seconds."""


def search_on(runs: Path, name: str, *options: str) -> Run:
    """Call `search` on the run as a person would who has moved it."""
    folder = runs / name
    assert main(["search", "--run", str(folder), "--data", str(runs / "images"), *options]) == 0
    return Run(folder)


def entries(run: Run) -> dict[str, bytes]:
    """The weights in the store."""
    weights = ((c, name) for c, name in run.store.entries() if name in ("final", "state"))
    return {f"{c}/{name}": run.store._read(c, name) or b"" for c, name in weights}


def test_an_interrupted_run_is_continued_with_what_was_missing(
    runs: Path, computed: list[tuple[str, int]]
) -> None:
    stored = entries(Run(runs / "interrupted"))
    assert sorted(Path(name).name for name in stored) == ["final", "final", "state"]
    run = search_on(runs, "interrupted", *NO_FORMATS)
    # Trial 1's fine-tune, from its stored epoch; then the reference's retraining and the winner's.
    assert computed[0] == ("fine_tune", 2)
    assert computed.count(("baseline", 1)) == 1
    found = entries(run)
    assert {Path(name).name for name in found} == {"final"}
    assert all(found[n] == stored[n] for n in stored if n.endswith("final"))
    # Every stage lies under the key that the other run has it under.
    assert found.keys() == entries(Run(runs / "finished")).keys()
    assert json.loads(run.result.read_text())["status"] == "complete"


def test_a_finished_run_is_found_finished(runs: Path, computed: list[tuple[str, int]]) -> None:
    before = {p: p.read_bytes() for p in (runs / "finished").rglob("*.json")}
    stored = entries(Run(runs / "finished"))
    run = search_on(runs, "finished")
    assert computed == []
    assert entries(run) == stored
    assert {p: p.read_bytes() for p in before} == before


def test_a_finished_run_is_extended_by_the_trial_that_is_asked_for(
    runs: Path,
    computed: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = search_on(runs, "finished", *NO_FORMATS)  # notes where the data lies now
    assert main(["extend", str(run.folder), "--trials", "2"]) == WRONG_INPUT  # it has two
    assert main(["extend", str(run.folder), "--trials", "3", "--address", "auto:1"]) != 0
    assert computed == []
    run.definition.write_text(run.definition.read_text().replace("callbacks: []", CALLBACKS))
    (runs / "spies.py").write_text(SPIES)
    monkeypatch.chdir(runs)
    assert main(["extend", str(run.folder), "--trials", "3"]) == 0
    heard = (runs / "heard.txt").read_text().splitlines()
    assert heard[:2] == ["begun finished", "started trial-0002"]
    assert heard[2].startswith("ended trial-0002 complete 0.")
    assert heard[-1] == "concluded complete report.html"
    assert "callback spies:Broken: ended failed, the run goes on: SystemExit: 7" in (
        " ".join(capsys.readouterr().out.split())
    )
    assert "baseline" not in {stage for stage, _ in computed}
    assert computed[:2] == [("fine_tune", 1), ("fine_tune", 2)]
    assert len(run.trials.read_text().splitlines()) == 1 + 3


def test_a_finished_run_is_reported_on_and_its_bundle_evaluated(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runs / "finished"
    assert main(["report", str(folder)]) == 0
    assert "dense 512" in (folder / "report.html").read_text()
    capsys.readouterr()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # `evaluate` would use a GPU
    assert main(["evaluate", str(folder / "best"), str(runs / "images"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    recorded = json.loads((folder / "best" / "bundle.json").read_text())["metrics"]
    assert [row["n"] for row in rows] == [row["n"] for row in recorded]
    assert [row["accuracy"] for row in rows] == [row["accuracy"] for row in recorded]
