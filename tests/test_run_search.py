"""`shiftsearch.run_search`: what it hands to a search, and how it tells the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import shiftsearch
from shiftsearch.experiments.exits import INTERRUPTED, Interrupted

pytestmark = pytest.mark.integration


def test_a_search_gets_what_it_is_given_and_its_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []
    ends: list[Any] = [0, 3, INTERRUPTED, Interrupted("no space")]

    def search(experiment: Any, folder: Path, *_: Any, **named: Any) -> int:
        asked.append((experiment.name, experiment.trials, folder, named["address"]))
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
