"""A run that is started again: nothing is repeated, lost files are restored, changes refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import ray

from shiftsearch.experiments.cli import WRONG_INPUT, main
from tests.campaigns.conftest import Bench
from tests.campaigns.runs import files, story

pytestmark = pytest.mark.campaign


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here has anything to train: Ray must not start."""

    def refuse(**options: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "init", refuse)


def looks(run: Path) -> int:
    return len(json.loads((run / "looks.json").read_text()))


def test_a_finished_run_is_left_as_it_is(bench: Bench) -> None:
    run = bench.copy("again")
    before = files(run)
    assert main(bench.command(run)) == 0
    assert files(run) == before


@pytest.mark.parametrize(
    ("lost", "looked"), [(("result.json", "trials.csv"), 2), (("best",), 2), (("report.html",), 1)]
)
def test_what_is_lost_is_made_anew(bench: Bench, lost: tuple[str, ...], looked: int) -> None:
    run = bench.copy(f"lost-{lost[0]}")
    paths, taken = [run / name for name in lost], looks(run)
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert main(bench.command(run)) == 0
    assert all(path.exists() for path in paths)
    assert story(run) == story(bench.undisturbed())
    assert looks(run) == taken * looked


def test_more_replicates_are_added_to_those_there_are(bench: Bench, full_campaign: bool) -> None:
    if not full_campaign:
        pytest.skip("in the full campaign only")
    run = bench.copy("replicates")
    code = bench.starter(bench.command(run, Bench.TRIALS, "--set", "retrain.replicates=2"))
    assert code == 0, bench.starter.said()
    before, after = story(bench.undisturbed()), story(run)
    assert after["trials"] == before["trials"]
    assert len(after["retrain"]) == 2 * len(before["retrain"])
    assert after["retrain"].items() > before["retrain"].items()
    assert after["result"]["retrain"]["replicates"] == 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("seed=1", "seed"),
        ("name=other", "name"),
        ("space.baseline.dropout=0.3", "space.baseline.dropout"),
        ("space.fine_tune.frozen_layers={low: 0, high: 4}", "space.fine_tune.frozen_layers"),
        ("protocol.fine_tune.max_epochs=5", "protocol.fine_tune.max_epochs"),
        ("protocol.baseline.patience=3", "protocol.baseline.patience"),
        ("protocol.fine_tune_on=TRAIN+TEST", "protocol.fine_tune_on"),
        ("protocol.holdout=0.25", "protocol.holdout"),
        ("protocol.division_seed=1", "protocol.division_seed"),
        ("data", "data"),
    ],
)
def test_another_search_is_refused(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, field: str
) -> None:
    """Exit code 2, one line that names the field, nothing changed."""
    run = bench.undisturbed()
    before = files(run)
    if change == "data":
        other = Path(shutil.copytree(bench.data, tmp_path / "data"))
        image = next((other / "TEST2").rglob("*.npy"))
        np.save(image, np.load(image) ^ 1)
        options = ["--data", str(other)]
    else:
        options = ["--set", change]
    assert main(bench.command(run, Bench.TRIALS + 1, *options)) == WRONG_INPUT
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == [field]
    assert files(run) == before
