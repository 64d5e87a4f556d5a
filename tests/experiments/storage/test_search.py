"""`search --storage` as it is called: continued elsewhere, and refused in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

import shiftsearch.experiments.searching
from shiftsearch.experiments.cli import main
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.storage import claim as claims
from shiftsearch.model.remote import RemoteFolder, below
from shiftsearch.search.executing.resources import Node
from shiftsearch.search.study.records import stored_trials
from tests.conftest import SECRET
from tests.experiments.test_continuing import Machine

pytestmark = pytest.mark.integration

Search = Callable[..., int]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made, module = Machine(), shiftsearch.experiments.searching
    monkeypatch.setattr(module, "run_jobs", made)
    monkeypatch.setattr(module, "cluster", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(module, "cluster_nodes", lambda: [Node(1.0, 0.0)])
    monkeypatch.setattr(claims, "BEAT", 0.1)
    return made


@pytest.fixture
def search(tmp_path: Path) -> Search:
    """`search demo` with the run's folder on a machine, and a URL."""

    def call(machine: str, url: str, *more: str) -> int:
        run = str(tmp_path / machine / "run")
        return main(["search", "demo", "--run", run, "--storage", url, *more])

    return call


def test_a_search_is_continued_from_an_empty_folder(
    search: Search, machine: Machine, bucket: str, tmp_path: Path
) -> None:
    machine.reason, machine.good = "", 3
    assert search("first", bucket) == 75
    there = RemoteFolder(below(bucket, "run"))
    journal = (tmp_path / "first" / "run" / "study.journal").read_bytes()
    assert there.read("study.journal") == journal
    assert search("second", bucket) == 75
    assert machine.asked == [3, 4, 5]
    assert search("third", bucket, "--retry-failed") == 75  # it is no new run
    assert search("first", "") == 75  # it knows its place
    assert machine.asked == [9, 10, 11]
    runs = [Run(tmp_path / name / "run") for name in ("first", "third")]
    assert len(stored_trials(runs[0].journal)) == 12
    assert there.read("study.journal") == runs[0].journal.read_bytes()
    assert there.folder("drivers").files() == {}
    for path in (path for run in runs for path in run.folder.rglob("*") if path.is_file()):
        assert SECRET.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("change", "code", "line"),
    [
        (lambda url: url.replace("s3://", "s3://other-"), 2, "NO_SUCH_BUCKET"),
        (lambda url: url.replace("127.0.0.1:", "127.0.0.1:1"), 75, "NETWORK_CONNECTION"),
        (lambda url: url.replace("s3://", f"s3://key:{SECRET}@"), 2, "AWS_SECRET_ACCESS_KEY"),
        (lambda url: f"{url}&secret_key={SECRET}", 2, "unknown secret_key"),
        (lambda url: url.replace("s3:", "ftp:"), 2, "must begin with s3://"),
    ],
)
def test_a_url_that_cannot_be_used_is_one_line_and_nothing_is_written(
    search: Search,
    machine: Machine,
    bucket: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[str], str],
    code: int,
    line: str,
) -> None:
    assert search("first", change(bucket)) == code
    said = capsys.readouterr()
    (last,) = said.err.splitlines()
    assert line in last
    assert SECRET not in said.out + said.err
    assert not (tmp_path / "first" / "run" / "study.journal").exists()
    assert machine.asked == []


def test_another_run_of_the_name_is_refused_and_not_brought(
    search: Search,
    machine: Machine,
    bucket: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    machine.reason, machine.good = "", 1
    assert search("first", bucket) == 75
    assert search("second", bucket, "--set", "seed=5") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("seed: this run was made with 0, now it is 5")
    assert [p.name for p in (tmp_path / "second" / "run").iterdir()] == ["run.lock"]
    assert search("first", below(bucket, "elsewhere")) == 2


def test_a_store_that_is_lost_in_the_middle_is_an_interruption(
    search: Search,
    machine: Machine,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine.reason, machine.good = "", 2
    write = RemoteFolder.write

    def lost(self: RemoteFolder, name: str, content: bytes) -> None:
        if machine.asked:
            raise OSError("AWS Error NETWORK_CONNECTION during PutObject operation")
        write(self, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "write", lost)
        assert search("first", bucket) == 75
    assert "NETWORK_CONNECTION" in capsys.readouterr().err.splitlines()[-1]
    there = RemoteFolder(below(bucket, "run"))
    assert search("first", bucket) == 75
    assert machine.asked == [2, 3]
    journal = (tmp_path / "first" / "run" / "study.journal").read_bytes()
    assert there.read("study.journal") == journal
