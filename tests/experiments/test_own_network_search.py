"""A tiny search with the example of an own network, beside files that would hide other modules."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shiftsearch.data.convert import write_folder
from shiftsearch.data.dataset import Dataset
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("own network")]  # one search

SETTINGS = {
    "trials": 2,
    "protocol.baseline.max_epochs": 1,
    "protocol.fine_tune.max_epochs": 1,
    "retrain.top_k": 2,
    "retrain.replicates": 1,
    "resources.concurrency": 1,
    "export.formats": "[]",
}
COMMAND = Path(sys.executable).parent / "shiftsearch"
TRAP = "import pathlib; pathlib.Path(__file__).with_suffix('.ran').touch(); raise SystemExit"
HIDING = ("data.py", "model.py", "search/__init__.py", "experiments.py")
"""Beside the user's files, and in a folder of PYTHONPATH."""
BESIDE = ("torch.py", "numpy.py", "ray.py", "sitecustomize.py")
"""Beside the user's files alone: on PYTHONPATH Python itself imports them."""


def shiftsearch(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "PYTHONPATH": str(folder.parent / "library")},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Dataset) -> Path:
    """The folder of the example, with images, after a search."""
    root = tmp_path_factory.mktemp("own")
    folder, library = root / "here", root / "library"
    ignored = shutil.ignore_patterns("__pycache__", "runs")
    shutil.copytree(REPOSITORY / "experiments" / "examples", folder, ignore=ignored)
    for place, names in ((folder, (*HIDING, *BESIDE)), (library, HIDING)):
        (place / "search").mkdir(parents=True)
        for name in names:
            (place / name).write_text(TRAP)
    write_folder(tiny_dataset, folder / "images")
    before = {path.name for path in folder.iterdir()}
    done = search(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert {path.name for path in folder.iterdir()} == before | {"out"}
    return folder


def search(folder: Path) -> subprocess.CompletedProcess[str]:
    """With relative paths."""
    given = [text for key, value in SETTINGS.items() for text in ("--set", f"{key}={value}")]
    of = ("own_network.yaml", "--data", "images", "--run", "out/run")
    return shiftsearch(folder, "search", *of, *given)


def test_2_21h_a_hostile_working_directory_and_relative_paths(folder: Path) -> None:
    """Ray puts the driver's directory first on its workers' import path, so it must be another.

    Modules of the same names on PYTHONPATH are not imported either.
    """
    assert not list(folder.parent.rglob("*.ran"))
    result = json.loads((folder / "out" / "run" / "result.json").read_bytes())
    assert result["dataset"]["source"] == str(folder / "images")
    assert (folder / "out" / "run" / "best").is_dir()


def test_it_is_searched_and_explained_beside_the_reference(folder: Path) -> None:
    with (folder / "out" / "run" / "trials.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["role"], first["network.name"]) == ("reference", "")
    assert second["state"] == "complete"
    assert second["network.source"].startswith("small_network:build@")
    assert [p.name for p in (folder / "out" / "run" / "network").iterdir()] == ["small_network.py"]
    result = json.loads((folder / "out" / "run" / "result.json").read_bytes())
    own = result["exported"]["number"] == int(second["number"])
    names = [layer["name"] for layer in result["analysis"]["layers"]]
    assert names[-1] == "head"
    assert (names[:-1] == ["first", "second"]) is own
    assert {c["configuration"].get("network.name") for c in result["retrain"]["candidates"]} == {
        None,
        "own",
    }


def test_a_finished_run_is_continued_with_the_same_source_alone(folder: Path) -> None:
    before = (folder / "out" / "run" / "result.json").read_bytes()
    again = shiftsearch(folder, "search", "--run", "out/run")
    assert again.returncode == 0, again.stderr
    assert json.loads(before) == json.loads((folder / "out" / "run" / "result.json").read_bytes())
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
    assert (folder / "out" / "run" / "result.json").read_bytes() == before
