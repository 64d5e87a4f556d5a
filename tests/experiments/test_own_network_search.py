"""A tiny search with the example of an own network, beside files that would hide other modules."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("own network")]  # one search

SETTINGS = {
    "trials": 2,
    "synthetic.size": 16,
    "synthetic.drift": "light",
    "protocol.baseline.max_epochs": 1,
    "protocol.fine_tune.max_epochs": 1,
    "retrain.top_k": 2,
    "retrain.replicates": 1,
    "resources.concurrency": 1,
    "export.formats": "[]",
}


def shiftsearch(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    # As the installed command: the current folder is not on Python's path.
    command = [sys.executable, "-P", "-m", "shiftsearch.experiments.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=250)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the example after a search."""
    folder = tmp_path_factory.mktemp("own") / "here"
    ignored = shutil.ignore_patterns("__pycache__", "runs")
    shutil.copytree(REPOSITORY / "experiments" / "examples", folder, ignore=ignored)
    for name in ("torch", "numpy", "ray", "data", "model", "search"):
        (folder / f"{name}.py").write_text("raise RuntimeError('was imported')\n")
    done = search(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def search(folder: Path) -> subprocess.CompletedProcess[str]:
    given = [text for key, value in SETTINGS.items() for text in ("--set", f"{key}={value}")]
    return shiftsearch(folder, "search", "own_network.yaml", "--run", "run", *given)


def test_it_is_searched_and_explained_beside_the_reference(folder: Path) -> None:
    with (folder / "run" / "trials.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["role"], first["network.name"]) == ("reference", "")
    assert second["state"] == "complete"
    assert second["network.source"].startswith("small_network:build@")
    assert [p.name for p in (folder / "run" / "network").iterdir()] == ["small_network.py"]
    result = json.loads((folder / "run" / "result.json").read_bytes())
    own = result["winner"]["configuration"].get("network.name") == "own"
    names = [layer["name"] for layer in result["analysis"]["layers"]]
    assert names[-1] == "head"
    assert (names[:-1] == ["first", "second"]) is own
    assert {c["configuration"].get("network.name") for c in result["retrain"]["candidates"]} == {
        None,
        "own",
    }


def test_a_finished_run_is_continued_with_the_same_source_alone(folder: Path) -> None:
    before = (folder / "run" / "result.json").read_bytes()
    again = shiftsearch(folder, "search", "--run", "run")
    assert again.returncode == 0, again.stderr
    assert json.loads(before) == json.loads((folder / "run" / "result.json").read_bytes())
    file = folder / "small_network.py"
    text = file.read_text()
    file.write_text(text.replace("WIDTH = 16", "WIDTH = 12"))
    try:
        changed = search(folder)
    finally:
        file.write_text(text)
    assert changed.returncode == 2
    (line,) = changed.stderr.splitlines()
    assert "space.network.source" in line
    assert (folder / "run" / "result.json").read_bytes() == before
