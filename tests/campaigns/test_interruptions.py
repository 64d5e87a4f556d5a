"""Ctrl+C after the last training: the command says so, and the next one makes the same run."""

from __future__ import annotations

import shutil

import pytest

from shiftsearch.experiments.exits import INTERRUPTED
from shiftsearch.experiments.live.status import status_of
from shiftsearch.experiments.run_folder import Run
from tests.campaigns.conftest import Bench
from tests.campaigns.test_kills import assert_undisturbed, finish

pytestmark = pytest.mark.campaign


POINTS = ("judging:1", "exporting:1", "writing:1", "exported:1", "concluded:1")


def test_interrupted_while_the_model_is_judged_exported_and_explained(
    bench: Bench, full_campaign: bool
) -> None:
    """At each point; in short at one."""
    run = bench.copy("interrupted")
    shutil.rmtree(run / "best")
    (run / "result.json").unlink()
    for point in POINTS if full_campaign else POINTS[1:2]:
        before = len(bench.starter.said())
        code = bench.starter(bench.command(run), f"{point}:ctrl-c")
        said = bench.starter.said()[before:]
        assert code == INTERRUPTED, said
        assert said.splitlines()[-1].startswith("interrupted")
        assert "Traceback" not in said
        assert status_of(Run(run))["outcome"] == "interrupted"
    finish(bench, run)
    assert_undisturbed(run, bench)
