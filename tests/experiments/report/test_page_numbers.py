"""Every number in the page's tables is the one of `result.json` or `trials.csv`."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest

from shiftsearch.experiments.outcome.trials_table import trials_frame
from shiftsearch.experiments.report.page import write_report
from shiftsearch.search.proposing.space import Space
from tests.experiments.protocol_results import finished_run

pytestmark = pytest.mark.unit

FROZEN = "fine_tune.frozen_layers"
SPACE = Space.parse({"fine_tune": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}})


def table(page: str, caption: str) -> list[list[str]]:
    """The cells of a table's rows as text, by the id of its caption."""
    _, _, rest = page.partition(f'<table aria-labelledby="{caption}"')
    _, _, body = rest.partition("</table>")[0].partition("<tbody>")
    rows = [re.findall("<t[hd].*?</t[hd]>", row, re.DOTALL) for row in body.split("</tr>")]
    return [[text(cell) for cell in row] for row in rows if row]


def text(markup: str) -> str:
    bare = re.sub("<[^>]*>", " ", markup.replace("<wbr>", ""))
    return " ".join(html.unescape(bare).split())


def check(page: str, result: Mapping[str, Any], trials: pd.DataFrame) -> None:
    """Every row that is due is there, with its numbers, and no other."""
    accuracies = [cell for row in table(page, "accuracies") for cell in row[1:]]
    assert len(accuracies) == len(result["table"])
    for row in result["table"]:
        low, high = (f"{100 * bound:.2f}" for bound in row["interval"])
        n = f"{len(row['replicates'])} replicate"
        expected = f"{100 * row['accuracy']:.2f} % [{low}, {high}] {row['label']}; {n}"
        assert any(cell.startswith(expected) for cell in accuracies), expected
    compared = {row[0].split()[0]: row[1:] for row in table(page, "configurations")}
    for name, value in result["winner"]["configuration"].items():
        reference = result["reference"]["configuration"][name]
        if name in compared:
            assert [float(v) for v in compared[name]] == pytest.approx([reference, value], 1e-3)
        else:
            assert value == reference
            assert f"<code>{name}</code> {value:.4g}" in page
    for row, candidate in zip(
        table(page, "retrained"), result["retrain"]["candidates"], strict=True
    ):
        values = [candidate["search_value"], *candidate["replicates"], candidate["mean"]]
        shown = re.findall(r"[\d.]+ %|-$", " ".join(row))
        assert shown == ["-" if v is None else f"{100 * v:.2f} %" for v in values]
    ended = trials[trials.state.isin(["complete", "pruned", "fail"])]
    expected_rows = [
        [
            str(frozen),
            str(group.count()),
            str(group.isna().sum()),
            f"{100 * group.median():.2f} %",
            f"{100 * group.max():.2f} %",
        ]
        for frozen, group in ended.groupby(FROZEN).test2_accuracy
    ]
    assert table(page, "frozen") == expected_rows
    for row, name in zip(table(page, "counts"), result["dataset"]["classes"], strict=False):
        i = result["dataset"]["classes"].index(name)
        assert row == [name, *(str(c[i]) for c in result["dataset"]["counts"].values())]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    result, trials = finished_run()
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(result, trials, SPACE, None, path)
    return path.read_text(encoding="utf-8")


def test_tables_agree_with_result_and_trials(page: str) -> None:
    result, trials = finished_run()
    check(page, result, trials_frame(trials))
    wrong = page.replace("97.09", "97.08")  # the end of an interval
    with pytest.raises(AssertionError):
        check(wrong, result, trials_frame(trials))


def test_figures_say_what_result_and_trials_hold(page: str) -> None:
    result, trials = finished_run()
    page = html.unescape(page)
    values = trials_frame(trials).test2_accuracy.dropna()
    span = f"{100 * values.min():.2f} % to {100 * values.max():.2f} %"
    assert f"TEST2 accuracy of {len(values)} trials, from {span}" in page
    for row in result["table"]:
        interval = ", ".join(f"{100 * bound:.2f}" for bound in row["interval"])
        assert f"{row['stage']} fine-tuning: {100 * row['accuracy']:.2f} % [{interval}]" in page
    for name in ("reference", "winner"):
        matrices = result["confusion"][name]
        for stage in ("before", "after"):
            right = sum(line[i] for i, line in enumerate(matrices[stage]))
            title = f"Confusion matrix of the {name}, {stage} fine-tuning"
            assert f"{title}: {right} of 540 images are on the diagonal" in page
