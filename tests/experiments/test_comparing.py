"""`shiftsearch compare`: what differs between runs, in the terminal, as JSON and as a page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from shiftsearch.experiments.cli import main
from shiftsearch.experiments.definition import build
from shiftsearch.experiments.exits import WRONG_INPUT
from shiftsearch.experiments.outcome.comparison import (
    compared,
    differing,
    differing_winners,
    notes,
    settings_of,
)
from tests.experiments.protocol_results import finished_run
from tests.experiments.stored_runs import stored_run

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs with a result, one of them without a division, and one that is not finished."""
    parent = tmp_path_factory.mktemp("runs")
    space = {"fine_tune": {"frozen_layers": {"low": 0, "high": 3}}}
    runs = [
        stored_run(parent / "one"),
        stored_run(parent / "two", seed=3, space=space),
        stored_run(parent / "three", trials=2),
    ]
    first, second = finished_run()[0], finished_run()[0]
    second["winner"] = {"number": 5, "configuration": dict(first["winner"]["configuration"])}
    second["winner"]["configuration"]["baseline.dropout"] = 0.25
    second["comparison"] = None
    for run, result in zip(runs, (first, second), strict=False):
        run.result.write_text(json.dumps(result))
    return [run.folder for run in runs]


def test_the_settings_of_made_data_count_only_where_they_are_used() -> None:
    made, real = build({}, "made"), build({"data": "/images"}, "real")
    names = {name.split(".")[0] for name in settings_of(made)}
    assert names - {name.split(".")[0] for name in settings_of(real)} == {"synthetic"}


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["compare", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_document_has_what_differs_and_each_run_s_numbers(
    folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(capsys, *folders, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["settings"] == {
        "trials": {"one": 8, "two": 8, "three": 2},
        "seed": {"one": 0, "two": 3, "three": 0},
        "space.baseline.batch_size": {
            "one": "one of 16, 32",
            "two": "64",
            "three": "one of 16, 32",
        },
        "space.baseline.dropout": {"one": "0 to 0.6", "two": "0.5", "three": "0 to 0.6"},
        "space.fine_tune.frozen_layers": {
            "one": "0 to 4 (step 1)",
            "two": "0 to 3 (step 1)",
            "three": "0 to 4 (step 1)",
        },
    }
    assert found["winners"]["baseline.dropout"] == {"one": 0.5, "two": 0.25, "three": None}
    one, two, three = found["runs"]
    assert one["trials"] == {"complete": 8, "pruned": 0, "failed": 0, "asked": 8}
    # Every baseline takes 8 s; all fine-tunes have one key here, and it is counted once.
    assert one["training_seconds"] == pytest.approx(8.0 + 2.0)
    assert one["winner_test2"]["label"] == "held out"
    assert one["winner_test2"]["accuracy"] == pytest.approx(0.9567)
    assert one["model_test2"]["n"] == 542
    assert one["comparison"]["difference"] == pytest.approx(0.1432)
    assert (two["winner"]["number"], two["comparison"]) == (5, None)
    assert (three["winner"], three["winner_test2"]) == (None, None)
    assert three["trials"]["complete"] == 2
    assert three["best"]["value"] > 0


def test_the_table_and_the_page_show_the_same(
    folders: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    page = tmp_path / "runs.html"
    before = sorted(path for folder in folders for path in folder.rglob("*"))
    code, out, _ = said(capsys, *folders, "--to", page)
    assert code == 0
    assert sorted(path for folder in folders for path in folder.rglob("*")) == before
    html = page.read_text(encoding="utf-8")
    text = " ".join(re.sub(r"<wbr>|<style>.*?</style>", "", html, flags=re.S).split())
    text = re.sub(r"<[^>]+>", " ", text).replace("\N{NO-BREAK SPACE}", " ")
    for words in (
        "8 complete of 8 trials",
        "95.67 %",
        "[93.61, 97.09]",
        "n = 542, held out",
        "+14.32 points",
        "[+11.19, +17.44]",
        "not finished",
        "space.fine_tune.frozen_layers",
        "0 to 3",
        "0.25",
    ):
        assert words in out
        assert words in text
    assert "<script" not in html
    assert "one, winner: 95.67 % [93.61, 97.09] (held out)" in html
    assert not re.findall(r"(?:src|href)=\"(?!#)", html)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_terminal_table_cuts_neither_names_nor_values(
    folders: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    space = {
        "fine_tune": {"augmentation": {"translation": {"low": 0, "high": 3}}},
        "preprocessing": {"intensity": {"choices": ["none", "standardise"]}},
    }
    other = stored_run(tmp_path / "a-name-of-more-than-twenty-characters", trials=1, space=space)
    _, out, _ = said(capsys, *folders[:2], other.folder)
    table = out.partition("The runs have")[0]
    assert "\N{HORIZONTAL ELLIPSIS}" not in table
    assert max(map(len, table.splitlines())) <= columns
    names = [line[:30].strip() for line in table.splitlines()]
    assert names[names.index("space.fine_tune.augmentation.") + 1] == "translation"
    assert "[93.61, 97.09]" in table


def test_winners_are_compared_among_the_runs_that_have_one(folders: list[Path]) -> None:
    runs, _ = compared(folders)
    assert differing_winners(runs) == {"baseline.dropout": [0.5, 0.25, None]}
    assert differing_winners(runs[1:]) == {}


def test_notes_say_whether_the_images_are_the_same(folders: list[Path]) -> None:
    runs, problems = compared(folders)
    assert problems == []
    same, choice = notes(runs)
    assert "have the same data" in same
    assert "too favourable" in choice
    other: dict[str, Any] = json.loads((folders[1] / "result.json").read_text())
    other["dataset"]["digest"] = "f" * 32
    assert runs[1].result is not None
    object.__setattr__(runs[1], "result", other)
    assert "differ in their data" in notes(runs)[0]
    assert notes(runs[2:]) == []


def test_runs_of_one_name_are_told_apart_by_their_folders(folders: list[Path]) -> None:
    other = stored_run(folders[0].parent / "other" / "one", trials=1)
    runs, _ = compared([folders[0], other.folder])
    assert [run.label for run in runs] == [str(folders[0]), str(other.folder)]


def test_a_value_that_a_run_lacks_is_a_difference() -> None:
    assert differing([{"a": 1, "b": 2}, {"a": 1}]) == {"b": [2, None]}


@pytest.mark.parametrize("words", [["{0}"], ["{0}", "{0}"], ["{0}", "nothing"]])
def test_what_cannot_be_compared_is_one_line_and_nothing_is_written(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    page = tmp_path / "runs.html"
    given = [word.format(folders[0]) for word in words]
    code, out, err = said(capsys, *given, "--to", page)
    assert (code, out, len(err.splitlines())) == (WRONG_INPUT, "", 1)
    assert not page.exists()


@pytest.mark.parametrize("page", ["page.txt", "no/folder.html", "."])
def test_a_page_that_cannot_be_written_is_refused(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], page: str
) -> None:
    code, out, err = said(capsys, *folders[:2], "--to", tmp_path / page)
    assert (code, out) == (WRONG_INPUT, "")
    assert err.startswith(f"--to {tmp_path / page}: must")
    assert list(tmp_path.iterdir()) == []
