"""If an explanation of a result fails, the result stays, and the next call tries again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from shiftsearch.experiments.adornments import adorn, explained
from shiftsearch.experiments.outcome.results import write_result
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.tensorboard.winner import has_winner
from shiftsearch.search.proposing.space import Space
from tests.experiments.protocol_results import finished_run
from tests.experiments.report.made_analysis import made_analysis

pytestmark = pytest.mark.unit

PAGES = ("analyse_run", "write_winner", "write_report")
"""What `adorn` makes, by the names that it calls."""


def failing(*_: object) -> NoReturn:
    raise ValueError("no such\ncolumn")


class Finished:
    """A run with a result, and the lines that each call of `adorn` reported."""

    def __init__(self, folder: Path) -> None:
        self.run = Run(folder)
        self.result, self.trials = finished_run()
        write_result(self.run.result, self.result)

    def adorn(self) -> list[str]:
        told: list[str] = []
        self.result = self.stored()
        adorn(self.run, self.result, self.trials, Space.parse({}), told.append)
        return told

    def stored(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run.result.read_text())
        return found


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Finished:
    """A run from which analysis, TensorBoard's pages and report can be made quickly."""
    analysis = made_analysis("012345")
    monkeypatch.setattr("shiftsearch.experiments.adornments.analyse_run", lambda _: analysis)
    monkeypatch.setattr("shiftsearch.experiments.report.page._SECTIONS", ())
    return Finished(tmp_path)


def test_the_analysis_is_noted_in_the_result_and_nothing_else_changes(finished: Finished) -> None:
    before = finished.stored()
    assert finished.adorn() == []
    expected = {**before, "analysis": made_analysis("012345").to_json()}
    assert finished.stored() == finished.result == expected
    assert list(finished.stored()) == list(before)
    assert has_winner(finished.run.tensorboard)
    assert finished.run.report.exists()


@pytest.mark.parametrize("name", PAGES)
def test_each_may_fail_and_is_made_by_the_next_call(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = finished.stored()
    with monkeypatch.context() as broken:
        broken.setattr(f"shiftsearch.experiments.adornments.{name}", failing)
        (line,) = finished.adorn()
    assert line.endswith("ValueError: no such column")
    assert {**finished.stored(), "analysis": None} == before
    done = {
        "analyse_run": finished.stored()["analysis"] is not None,
        "write_winner": has_winner(finished.run.tensorboard),
        "write_report": finished.run.report.exists(),
    }
    # Without an analysis there is nothing to show in TensorBoard.
    missing = {"analyse_run": ["analyse_run", "write_winner"]}.get(name, [name])
    assert [made for made, is_there in done.items() if not is_there] == missing
    assert finished.adorn() == []
    assert finished.stored()["analysis"] is not None
    assert has_winner(finished.run.tensorboard)
    assert finished.run.report.exists()


def test_what_is_made_is_not_made_again_but_for_the_page(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished.adorn()
    monkeypatch.setattr("shiftsearch.experiments.adornments.write_winner", failing)
    monkeypatch.setattr("shiftsearch.experiments.adornments.write_result", failing)
    assert finished.adorn() == []


def test_a_new_result_has_new_pages_of_its_winner(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages of the earlier winner are complete, but must be replaced."""
    finished.adorn()
    write_result(finished.run.result, {**finished.stored(), "analysis": None})
    written: list[Path] = []
    monkeypatch.setattr(
        "shiftsearch.experiments.adornments.write_winner", lambda root, _: written.append(root)
    )
    assert finished.adorn() == []
    assert written == [finished.run.tensorboard]


def gone(_: Run) -> NoReturn:
    raise NotARun("no dataset")


@pytest.mark.parametrize(("analyse", "lines"), [(gone, 0), (failing, 1)])
def test_data_that_is_gone_is_no_failure(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    analyse: Callable[[Run], NoReturn],
    lines: int,
) -> None:
    monkeypatch.setattr("shiftsearch.experiments.adornments.analyse_run", analyse)
    told: list[str] = []
    assert explained(Run(tmp_path), told.append) is None
    assert len(told) == lines
