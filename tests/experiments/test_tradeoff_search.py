"""A real search with a constraint and two objectives, from the file to an exported point."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shiftsearch.experiments.cli import main
from shiftsearch.model.loading import load_bundle

pytestmark = pytest.mark.integration

EXPERIMENT = """
name: tradeoff
synthetic: {size: 16, drift: light}
trials: 5
start_up: 5
seed: 0
policy: {branches: 2, first_baselines: 2}
protocol:
  baseline: {max_epochs: 1}
  fine_tune: {max_epochs: 1}
space:
  baseline: {learning_rate: {low: 1e-4, high: 1e-2, log: true}}
  network:
    name: blocks
    depth: {choices: [2, 3]}
    width: {choices: [0.25, 0.5, 1.0]}
  fine_tune: {learning_rate: {low: 1e-4, high: 1e-2, log: true}}
objectives: [test2_accuracy, parameters]
constraints: {max_parameters: MOST}
resources: {concurrency: 1}
retrain: {top_k: 2, replicates: 1}
export: {formats: []}
licence: CC0-1.0
"""
MOST = 160_000


def trained(*arguments: object) -> str:
    """What a command that needs Ray prints, in a process of its own."""
    command = [sys.executable, "-m", "shiftsearch.experiments.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def own_sigterm() -> Iterator[None]:
    """The command sets a handler for its process; here that is the tests' process."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.slow(reason="a whole search and its report, a minute of processor time")
def test_a_search_weighs_accuracy_against_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], own_sigterm: None
) -> None:
    def told(*arguments: object, code: int = 0) -> str:
        """What a command without Ray prints; here, because torch is imported."""
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        output = capsys.readouterr()
        return output.err if code else output.out

    file, run = tmp_path / "tradeoff.yaml", tmp_path / "run"
    file.write_text(EXPERIMENT.replace("MOST", "1000"))
    (line,) = told("search", file, "--run", run, code=2).splitlines()
    assert "constraints.max_parameters: 1,000" in line
    assert not run.exists()

    file.write_text(EXPERIMENT.replace("MOST", str(MOST)))
    said = trained("search", file, "--run", run)
    rows = list(csv.DictReader((run / "trials.csv").open(encoding="utf-8")))
    refused = [row for row in rows if row["state"] == "refused"]
    assert [row["state"] for row in rows].count("complete") == 5
    assert refused
    assert all(int(row["parameters"]) > MOST and row["reason"] for row in refused)
    assert all(int(row["parameters"]) <= MOST for row in rows[1:] if row["state"] == "complete")
    result = json.loads((run / "result.json").read_text())
    assert result["search"]["refused"] == len(refused) == result["constraints"]["refused"]
    points = result["front"]["points"]
    assert points[0]["mean"] is not None
    assert f"{points[0]['parameters']:,}" in said
    assert result["winner"]["costs"]["parameters"] <= MOST
    assert "Pareto front" in (run / "report.html").read_text()

    listed = told("trials", run, "--pareto", "--csv").splitlines()
    assert sorted(int(row["number"]) for row in csv.DictReader(listed)) == sorted(
        point["number"] for point in points
    )
    number, model = points[-1]["number"], tmp_path / "model"
    card = (run / "best" / "README.md").read_text(encoding="utf-8")
    assert "| licence | CC0-1.0 |" in card.replace("\\", "")
    told("export", run, "--trial", number, "--to", model, "--format", "none")
    record = load_bundle(model).record
    assert (record.study.number, record.study.replicate) == (number, 0)
    assert {row["part"] for row in record.metrics} == {"all", "selection"}
    after = next(r for r in record.metrics if (r["stage"], r["part"]) == ("after", "selection"))
    assert after["accuracy"] == pytest.approx(points[-1]["test2_accuracy"], abs=0.02)

    again = trained("retrain", run, "--trial", number, "--seeds", 1, "--own-seed")
    assert f"trial {number}, 1 new replicate: " in again
    assert (
        "the weights of both stages are equal, bit for bit, to those in the run's store" in again
    )

    looks = (run / "looks.json").read_bytes()
    told("search", "--run", run)  # continued: the same trials, the same result
    assert list(csv.DictReader((run / "trials.csv").open(encoding="utf-8"))) == rows
    assert json.loads((run / "result.json").read_text())["front"] == result["front"]
    assert (run / "looks.json").read_bytes() == looks
