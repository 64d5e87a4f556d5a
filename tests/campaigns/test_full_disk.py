"""A disk that is full at many moments of one run: each call says so, and nothing is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaigns.conftest import Bench
from tests.campaigns.dying_driver import FILLER
from tests.campaigns.test_kills import assert_undisturbed, finish

pytestmark = pytest.mark.campaign

NO_SPACE = "No space left on device"
POINTS = ("epoch:1", "journal:8", "stored:1", "epoch:5", "retraining:1", "exporting:1")
"""Then TensorBoard, the journal, the store, `retrain.json` and the bundle are written next."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", folder]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_full_again_and_again(
    bench: Bench, disk: Path, full_campaign: bool
) -> None:
    if not full_campaign:
        pytest.skip("in the full campaign only")
    run, filler = disk / "run", disk / "filler"

    def start(*strikes: str) -> tuple[int, str]:
        """Exit code, and what was printed."""
        before = len(bench.starter.said())
        command = bench.command(run)
        code = bench.starter(command, *strikes, environment={FILLER: str(filler)})
        return code, bench.starter.said()[before:]

    for point in POINTS:
        code, said = start(f"{point}:fill")
        last = said.splitlines()[-1]
        assert filler.exists(), f"{point} was not passed\n{said}"
        assert code == 75, f"{point}\n{said}"
        assert last.startswith("interrupted: "), f"{point}\n{said}"
        assert NO_SPACE in last, f"{point}\n{said}"
        assert "Traceback" not in said
        if point == POINTS[0]:
            code, said = start()
            assert code == 75, said
            assert "disk: " in said.splitlines()[-1]
        filler.unlink()
    code, said = start("concluded:1:fill")  # the report is not what the search was for
    assert code == 0, said
    assert f"report.html failed; the next call tries again: {run}/report.html: {NO_SPACE}" in said
    filler.unlink()
    finish(bench, run)
    assert (run / "report.html").exists()
    assert_undisturbed(run, bench)
