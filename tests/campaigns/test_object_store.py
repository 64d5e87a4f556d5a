"""A run on an S3 server: its driver dies, and one on another machine ends it, bit for bit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.storage.place import place_of
from shiftsearch.model.remote import RemoteFolder
from tests.campaigns.conftest import Bench
from tests.campaigns.runs import KILLED, trials_of
from tests.campaigns.test_kills import assert_undisturbed
from tests.conftest import SECRET

pytestmark = pytest.mark.campaign

QUICK = {
    "shiftsearch.experiments.storage.claim:BEAT": 0.5,
    "shiftsearch.experiments.storage.claim:STALE": 4.0,
}


def test_another_machine_ends_the_run_of_a_dead_one(bench: Bench, bucket: str) -> None:
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    runs = [bench.run(f"machine-{n}") / "run" for n in (1, 2)]

    def start(run: Path, *strikes: str) -> int:
        command = bench.command(run, Bench.TRIALS, "--storage", bucket)
        return bench.starter(command, *strikes, environment=aws, constants=QUICK)

    assert start(runs[0], "ended:3") == KILLED, bench.starter.said()
    before = [trial["state"] for trial in trials_of(runs[0])]
    assert before == ["COMPLETE"] * 3
    assert not (runs[0] / "store").exists()
    assert start(runs[1]) == 0, bench.starter.said()
    assert_undisturbed(runs[1], bench)

    # The first machine is back: its driver died before the last lines of its journal were copied.
    assert start(runs[0]) == 2, bench.starter.said()
    assert "another folder went on with this run" in bench.starter.said()
    shutil.rmtree(runs[0])
    assert start(runs[0]) == 0, bench.starter.said()
    assert trials_of(runs[0]) == trials_of(runs[1])
    assert (runs[0] / "result.json").read_bytes() == (runs[1] / "result.json").read_bytes()

    place = place_of(Run(runs[0]))
    assert place is not None
    there = RemoteFolder(place.url)
    copied = {name for name in there.files() if not name.startswith("store/")}
    assert {"study.journal", "trials.csv", "result.json", "report.html"} <= copied
    assert {"best/model.safetensors", "dataset/pack.json", "looks.json"} <= copied
    assert not [name for name in copied if name.startswith(("drivers/", "commands/", "ray/"))]
    for name in ("study.journal", "result.json", "best/model.safetensors"):
        assert there.read(name) == (runs[0] / name).read_bytes()
    written = [path for run in runs for path in run.rglob("*") if path.is_file()]
    assert SECRET not in bench.starter.said()
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    assert not [name for name in copied if SECRET.encode() in (there.read(name) or b"")]
