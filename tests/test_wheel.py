"""A wheel, built and unpacked elsewhere, holds all that is installed, and works on its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.integration

FLOORS = ("data", "model", "search", "experiments")
LEFT_OUT = ("experiments/benchmarks", "experiments/cluster", "experiments/examples")
"""Run from a checkout only."""


def run(*command: str | Path, **environment: str) -> str:
    given = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | environment
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=200, env=given
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the wheel is unpacked."""
    source, built, site = (tmp_path_factory.mktemp(name) for name in ("source", "built", "site"))
    for name in (*FLOORS, "shiftsearch"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    offline = ("--no-build-isolation", "--no-deps", "--no-index", "--quiet")
    run("-m", "pip", "wheel", *offline, "--wheel-dir", built, source)
    (wheel,) = built.glob("shiftsearch-*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    return site


def test_it_holds_every_file_of_the_packages_and_nothing_beside_them(site: Path) -> None:
    expected = {
        Path("shiftsearch", path.relative_to(REPOSITORY))
        for floor in FLOORS
        for path in (REPOSITORY / floor).rglob("*")
        if path.suffix in (".py", ".yaml", ".j2", ".css")
        and not any(path.is_relative_to(REPOSITORY / name) for name in LEFT_OUT)
    }
    expected |= {Path("shiftsearch/__init__.py"), Path("shiftsearch/py.typed")}
    found = {p.relative_to(site) for p in site.rglob("*") if p.is_file()}
    assert {p for p in found if not p.parts[0].endswith(".dist-info")} == expected


def test_it_is_imported_and_its_command_runs(site: Path, tmp_path: Path) -> None:
    """From the unpacked wheel, not from the checkout."""
    code = (
        "import pathlib, shiftsearch, shiftsearch.experiments.report.page as page\n"
        "from shiftsearch.experiments.cli import main\n"
        "print(shiftsearch.__file__, page.__file__, sep='\\n')\n"
        "raise SystemExit(main(['data', 'synthesize', 'images']))\n"
    )
    there = {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    script = tmp_path / "script.py"
    script.write_text(f"import os; os.chdir({str(tmp_path)!r})\n{code}")
    lines = run(script, **there).splitlines()
    files = [site / "shiftsearch/__init__.py", site / "shiftsearch/experiments/report/page.py"]
    assert lines[:2] == [str(file) for file in files]
    assert (tmp_path / "images/TRAIN").is_dir()
