"""A run folder that cannot be written for a while, and one that is moved: the search goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.campaigns.conftest import Bench
from tests.campaigns.runs import files
from tests.campaigns.test_kills import assert_undisturbed, finish, running, strike

pytestmark = pytest.mark.campaign

COMMAND = [sys.executable, "-m", "shiftsearch.experiments.cli"]


def unprivileged() -> list[str]:
    """What to begin a command with, so that the modes of files count for it, also as root."""
    if os.geteuid() != 0:
        return []
    begin = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if shutil.which("setpriv") is None or subprocess.run([*begin, "true"]).returncode:
        pytest.skip("root's right to write everywhere cannot be given up here")
    return begin


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def test_a_folder_that_is_read_only_and_is_moved(bench: Bench, full_campaign: bool) -> None:
    if not full_campaign:
        pytest.skip("in the full campaign only")
    begin, before = unprivileged(), bench.run("before")
    strike(bench, before, Bench.TRIALS, "between-stages:2")
    assert running(before) == [1]

    def call(*arguments: str) -> tuple[int, list[str]]:
        done = subprocess.run(
            [*begin, *COMMAND, *arguments],
            env=bench.starter.environment(),
            cwd=before.parent,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stderr.splitlines()

    with read_only(before):
        was = files(before)
        code, lines = call(*bench.command(before))
        assert (code, lines) == (2, [f"{before}/run.lock: Permission denied"])
        for look in ("status", "trials"):
            assert call(look, str(before)) == (0, [])
        assert files(before) == was

    run = before.rename(bench.run("moved"))
    finish(bench, run)
    assert not before.exists()
    assert_undisturbed(run, bench)
