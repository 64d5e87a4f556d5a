"""`shiftsearch.run_search`: what it hands to a search, and how it tells the end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import shiftsearch
from shiftsearch.experiments.call import Call
from shiftsearch.experiments.exits import INTERRUPTED, Interrupted

pytestmark = pytest.mark.integration


def test_a_search_gets_what_it_is_given_and_its_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []
    ends: list[Any] = [0, 3, INTERRUPTED, Interrupted("no space")]

    def search(experiment: Any, folder: Path, _: Any, call: Call) -> int:
        asked.append((experiment.name, experiment.trials, folder, call.address))
        end = ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return int(end)

    monkeypatch.setattr("shiftsearch.experiments.run.search", search)
    run = tmp_path / "run"

    def start() -> shiftsearch.Run:
        return shiftsearch.run_search("demo", run=run, settings={"trials": 3}, address="a:1")

    assert isinstance(start(), shiftsearch.Run)
    assert asked == [("demo", 3, run, "a:1")]
    for code in (3, INTERRUPTED, INTERRUPTED):
        with pytest.raises(shiftsearch.SearchEnded) as ended:
            start()
        assert ended.value.code == code
    with pytest.raises(ValueError, match="trails"):
        shiftsearch.run_search("demo", run=run, settings={"trails": 3})


NOTEBOOK = Path(__file__).parents[1] / "experiments" / "examples" / "search.ipynb"
IN_A_THREAD = """
import json, os, sys, threading
import ray, shiftsearch

with open(sys.argv[1], encoding="utf-8") as file:
    cells = json.load(file)["cells"]
before, found = os.getcwd(), {}

def execute():
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), found)

thread = threading.Thread(target=execute)
thread.start()
thread.join()
assert found["run"].result["status"] == "complete"
assert len(found["trials"]) >= 3 and set(found["shown"]) <= set(found["trials"].columns)
assert len(found["table"]) >= 2
assert abs(found["model"].predict_proba(found["images"]).sum(1) - 1).max() < 1e-5
assert os.getcwd() == before and not ray.is_initialized()
ray.init(address="local", num_cpus=1, include_dashboard=False)
kept = ray.put("kept")
try:
    shiftsearch.run_search("demo", run="second", settings=found["SETTINGS"], quiet=True)
except ValueError as error:
    assert "ray.shutdown()" in str(error), error
else:
    raise AssertionError("not refused")
assert os.getcwd() == before and ray.get(kept) == "kept"
"""


@pytest.mark.slow(reason="a whole search and its report, a minute of processor time")
def test_a_notebook_may_search_in_a_thread_and_keeps_a_ray_of_its_own(tmp_path: Path) -> None:
    """The example notebook, cell by cell; its search is no longer than this test needs."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_THREAD, str(NOTEBOOK)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=560,
    )
    assert done.returncode == 0, done.stdout + done.stderr
