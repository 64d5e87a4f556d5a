"""The page, the table and the CSV say what `result.json` and the trials hold, failures too."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments.findings import result_table
from experiments.report import write_report
from experiments.trials_table import trials_frame, write_trials_csv
from model.hyperparameters import Hyperparameters
from search.records import TrialRecord
from search.space import Space
from tests.experiments.protocol_results import (
    branch,
    complete,
    failed,
    finished_run,
    pruned,
    reference_only,
    waiting,
)

pytestmark = pytest.mark.unit

VOID = {"meta", "br"}


class Page(HTMLParser):
    """What a reader meets: headings, text, figures; fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[int] = []
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.alts: list[str | None] = []
        self.feed(html)
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "svg":
            self.alts.append(dict(attrs).get("aria-label"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def html_of(run: tuple[dict[str, Any], list[TrialRecord]], folder: Path) -> str:
    write_report(*run, Space({}, {}), None, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def caption_of(result: dict[str, Any]) -> str:
    """The sentence that the terminal's table and the page share."""
    return str(result_table(result).caption)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run with a winner, failures and a held-out part."""
    return html_of(finished_run(), tmp_path_factory.mktemp("report"))


def test_the_page_answers_first_and_stands_alone(html: str) -> None:
    found = Page(html)
    answer = found.text.index("The winner, trial 17, is right on 95.67 % [93.61, 97.09] of 542")
    assert answer < found.text.index("Accuracies")
    assert "The reference configuration is right on 81.35 %" in found.text
    assert "+14.32 points [+11.19, +17.44]; the winner is better." in found.text
    assert not {"script", "link", "img", "iframe"} & found.tags
    assert re.findall(r"(?:src|href)=\"(?!#)[^\"]*|url\((?!#)[^)]*|@import", html) == []


def test_the_page_is_accessible(html: str) -> None:
    found = Page(html)
    assert found.headings[0] == 1
    assert found.headings.count(1) == 1
    steps = zip(found.headings, found.headings[1:], strict=False)
    assert all(after <= before + 1 for before, after in steps)
    assert len(found.alts) == 6
    assert all(alt and len(alt) > 40 for alt in found.alts)
    assert len(set(found.alts)) == 6


def test_the_page_shows_failures_escaped_looks_and_provenance(html: str) -> None:
    found = Page(html)
    for expected in (
        "baseline epoch 3: training loss nan <script>alert(1)</script>",
        "shiftsearch search digits6 --data <DIR>",
        "0 reference TRAIN+TEST 81.51 % 81.00 %, 82.00 % failed: worker lost 4 times",
        "17 winner TEST 97.22 % 96.00 %, 97.00 %, 95.50 % 96.17 %",
        "6 of the reference (final evaluation); 6 of the winner (final evaluation)",
        "0123456789abcdef0123456789abcdef",
        "fine_tune.learning_rate 0.0001 0.001235",
        "17 complete, 0 pruned and 1 failed trials (17 asked for)",
        "torch 2.13.0",
        "2 trials at once: 2 cores",
        "Warning about the data: 4 images of TRAIN and 4 of TEST2 are identical: <seen> in",
        "Time this call 7 min 13 s",
        "standard deviation 0.71 points [0.40, 2.65], 3 degrees of freedom.",
        "20 more trials are expected to add 0.42 points [0.17, 1.33] to the search's best value",
    ):
        assert expected in found.text


def test_the_page_tells_of_branches_rungs_and_an_early_end(html: str, tmp_path: Path) -> None:
    without = Page(html).text
    assert not any(w in without for w in ("another trial trained", "rung", "No more trials"))
    result, trials = finished_run()
    trials += [branch(19, 0.9, root=17), pruned(20, {1: 0.4, 3: 0.51})]
    result["search"]["stopped"] = "the budget is spent"
    text = Page(html_of((result, trials), tmp_path)).text
    assert "1 trial fine-tunes a baseline that another trial trained." in text
    assert "No more trials were asked for: the budget is spent." in text
    assert "Trials stopped at a rung Trial Reason 20 stopped at the rung of 3 epochs" in text


def test_without_a_held_out_part_the_page_says_so(tmp_path: Path) -> None:
    found = Page(html_of(finished_run(held_out=0), tmp_path))
    assert "Nothing was held out (holdout 0)" in found.text
    assert "is right on 96.17 % [94.20, 97.49] of 541 TEST2 images (selected on)" in found.text
    assert "TEST2's selection part" in found.text
    assert "TEST2 held-out" not in found.text
    assert "Looks at the held-out part none" in found.text


def test_a_run_of_the_reference_alone_has_a_page(tmp_path: Path) -> None:
    run = reference_only()
    del run[0]["search"]["stopped"]  # of a run that an older version concluded
    found = Page(html_of(run, tmp_path))
    assert "No more trials" not in found.text
    assert "The reference configuration is right on 93.70 %" in found.text
    assert "Only the reference configuration was run" in found.text
    assert "The winner, trial" not in found.text.partition("Configuration")[0]
    assert "Failed trials" not in found.text
    assert "Warning" not in found.text
    assert "Noise between seeds is unknown" in found.text
    assert "What more trials would gain is unknown" in found.text
    assert "retrained configuration comes within" not in found.text
    assert len(found.alts) == 4


@pytest.mark.parametrize(
    ("interval", "reading"),
    [
        ([-0.01, 0.03], "the interval holds 0, so neither is shown to be better"),
        ([0.0, 0.03], "the interval holds 0, so neither is shown to be better"),
        ([-0.05, -0.01], "the reference configuration is better"),
    ],
)
def test_the_comparison_is_not_called_more_than_it_is(interval: list[float], reading: str) -> None:
    result, _ = finished_run()
    result["comparison"]["interval"] = interval
    assert reading in caption_of(result)


def test_a_comparison_that_is_missing_is_explained() -> None:
    result, _ = finished_run()
    result["comparison"] = None
    assert "could not be retrained" in caption_of(result)
    result["winner"] = result["reference"]
    assert "The winner is the reference configuration itself" in caption_of(result)


def test_what_the_noise_cannot_tell_apart_is_named() -> None:
    result, _ = finished_run()
    assert "No other retrained configuration comes within it of the best one." in caption_of(
        result
    )
    result["outlook"]["indistinguishable"] = [0, 4]
    assert "Not told apart from the best" in caption_of(result)
    assert "by it: trials 0, 4." in caption_of(result)
    del result["outlook"]  # of a run that an older version concluded
    assert "oise" not in caption_of(result)


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_table_is_whole_at_usual_widths(width: int) -> None:
    result, _ = finished_run()
    output = io.StringIO()
    Console(file=output, width=width).print(result_table(result))
    text = output.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "winner TEST 56.50 % selected on 97.17 % trained on" in lines
    assert "TEST2 held-out 21.00 % held out 95.67 % held out" in lines
    assert "n = 542 [17.78, 24.63] [93.61, 97.09]" in lines
    assert "+14.32 points [+11.19, +17.44]" in " ".join(lines)


def test_trials_csv_has_every_value_exactly_and_no_nan(tmp_path: Path) -> None:
    rate = 0.1 + 0.2
    trials = [
        complete(0, 0.8151, role="reference"),
        complete(1, 0.875, **{"fine_tune.learning_rate": rate, "fine_tune.batch_size": 32}),
        failed(2, 'loss "nan", at\nepoch 3'),
        waiting(3),
        branch(4, 0.9, root=0),
        pruned(5, {1: 0.4, 3: 0.51}),
    ]
    write_trials_csv(trials, tmp_path / "trials.csv")
    text = (tmp_path / "trials.csv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(io.StringIO(text)))
    assert float(lines[1]["fine_tune.learning_rate"]) == rate
    assert [line["fine_tune.batch_size"] for line in lines] == ["64", "32", "64", "", "64", "64"]
    assert [line["test2_accuracy"] for line in lines] == ["0.8151", "0.875", "", "", "0.9", ""]
    before = [line["test2_accuracy_before"] for line in lines]
    assert before == ["0.17", "0.17", "", "", "0.17", ""]
    assert [line["test_accuracy_after"] for line in lines] == ["0.97", "0.97", "", "", "0.97", ""]
    assert [line["fine_tune_epochs"] for line in lines] == ["12", "12", "", "", "12", ""]
    assert [line["reason"] for line in lines][:4] == ["", "", 'loss "nan", at\nepoch 3', ""]
    assert lines[5]["reason"] == "stopped at the rung of 3 epochs: 0.5100"
    assert [line["branch_of"] for line in lines] == ["", "", "", "", "0", ""]
    assert [line["stopped_at"] for line in lines] == ["", "", "", "", "", "3"]
    assert [line["role"] for line in lines][:2] == ["reference", "sampled"]
    assert set(Hyperparameters().to_flat()) <= set(lines[0])
    assert set(lines[3].values()) == {"3", "waiting", "sampled", ""}


def test_no_trials_make_a_frame_with_all_columns() -> None:
    assert list(trials_frame([]).columns) == list(trials_frame([complete(0, 0.5)]).columns)
    assert len(trials_frame([])) == 0
