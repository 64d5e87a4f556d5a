"""The whole command on a model without a mistake, scored on 60 held-out images.

Integration, because a search imports Ray. A fake replaces the workers and trains nothing.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from torch import Tensor

from shiftsearch.experiments.benchmarks.untrained import random_weights
from shiftsearch.experiments.cli import main
from shiftsearch.experiments.outcome.looks import looks_so_far
from shiftsearch.experiments.outcome.results import STAGES
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.result import ProtocolResult, SplitResult, StageSummary
from shiftsearch.model.store import Entry, Store, content_key
from shiftsearch.search.executing.jobs import Job
from tests.experiments.stored_networks import always

pytestmark = pytest.mark.integration

SIDE, CLASSES = 16, ("dark", "light")
IMAGES = {"TRAIN": 2, "TEST": 2, "TEST2": 60}
"""Of each class; 60 of TEST2's 120 are held out, an n at which 100 % once broke a figure."""


@pytest.fixture(autouse=True)
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own; `main`'s handler and the device's threads are put back."""
    monkeypatch.setenv("SHIFTSEARCH_CACHE", str(tmp_path / "cache"))
    handler, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    yield
    signal.signal(signal.SIGTERM, handler)
    torch.set_num_threads(threads)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Black and white images, each with another pixel in grey, so that none occurs twice."""
    for number, (split, count) in enumerate(IMAGES.items()):
        for label, name in enumerate(CLASSES):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = np.full(SIDE * SIDE, 255 * label, np.uint8)
                image[i] = 100 + number
                np.save(folder / f"{i}.npy", image.reshape(SIDE, SIDE))
    return tmp_path / "data"


def perfect() -> Mapping[str, Tensor]:
    """Of a network that tells dark images from light ones.

    Each block hands on the brightest value; the dense layer adds up the last four, which come to
    4 where all is light and to less than 1 where one pixel is grey; the head draws the line at 2.
    """
    shapes = random_weights(0, len(CLASSES), (SIDE, SIDE))
    state = {name: torch.zeros_like(value) for name, value in shapes.items()}
    for block in range(3):
        state[f"layers.{block}.convolution.weight"][0, 0, 1, 1] = 1
        for kept in ("weight", "running_var"):
            state[f"layers.{block}.normalisation.{kept}"][:] = 1
    state["layers.3.linear.weight"][0, :4] = 1
    state["head.weight"][1, 0] = 1
    state["head.bias"][0] = 2
    return state


def trained(job: Job, store: Store) -> ProtocolResult:
    """What a worker would leave and report of a job that ends with the perfect model."""
    environment = {"device": "cpu", "dtype": "float32", "threads": 1, "torch": torch.__version__}
    perfectly = SplitResult(60, 1.0, 0.0, confusion=[[30, 0], [0, 30]])
    stages = []
    networks = {"baseline": always(0, len(CLASSES), (SIDE, SIDE)), "fine_tune": perfect()}
    for stage, weights in networks.items():
        course = content_key([job.name, stage])
        row = {"epoch": 1, "train_loss": 0.1, "validation_loss": 0.0, "validation_accuracy": 1.0}
        row |= {"train_accuracy": 1.0, "learning_rate": 1e-3}
        record = {
            "decisions": {"epochs": 1, "best_epoch": 1},
            "history": [row],
            "environment": environment,
        }
        store.save(course, "final", Entry(weights, record))
        key = f"{course}-0001"
        stages.append(StageSummary(key, 1, 1, 1.0, environment, perfectly, perfectly))
    return ProtocolResult(*stages)


def failing(_: Run) -> NoReturn:
    raise ZeroDivisionError("no [/layers]")


def test_a_perfect_model_ends_with_its_report_and_so_does_the_next_call(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def execute(driver: Any, *_: object) -> None:
        """What Ray would do."""
        while (job := driver.phases.ask()) is not None:
            driver.phases.finish(job, trained(job, driver.run.store))

    monkeypatch.setattr("shiftsearch.experiments.searching.Searching._execute", execute)
    run = tmp_path / "run"
    command = ["search", "demo", "--data", str(data), "--run", str(run), "--trials", "2"]
    command += ["--set", "retrain={top_k: 1, replicates: 1}", "--set", "export.formats=[]"]
    with monkeypatch.context() as broken:  # what explains the result costs nobody the result
        broken.setattr("shiftsearch.experiments.adornments.analyse_run", failing)
        assert main(command) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if "failed" in line]
    assert len(warnings) == 1
    assert warnings[0].endswith("ZeroDivisionError: no [/layers]")
    result = json.loads((run / "result.json").read_text())
    assert result["analysis"] is None
    rows = [r for r in result["table"] if (r["part"], r["stage"]) == ("held-out", "after")]
    assert {(r["n"], r["accuracy"], r["interval"][1]) for r in rows} == {(60, 1.0, 1.0)}
    looks = looks_so_far(run / "looks.json")
    assert len(looks) == len(STAGES) * len(rows)
    (run / "report.html").unlink()
    assert main(command) == 0
    assert "failed" not in capsys.readouterr().out
    assert "failed: " not in (run / "report.html").read_text()
    analysis = json.loads((run / "result.json").read_text())["analysis"]
    assert analysis["per_class"]["after"] == [1.0, 1.0]
    assert looks_so_far(run / "looks.json") == looks
