"""The sentences and the terminal's end table say what `result.json` holds, and no more."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from shiftsearch.experiments.outcome.result_rows import final_row, rows_of
from shiftsearch.experiments.report.findings import comparison_line, exported_alone, result_table
from tests.experiments.protocol_results import finished_run

pytestmark = pytest.mark.unit


def caption_of(result: dict[str, Any]) -> str:
    """The sentence that the terminal's table and the page share."""
    return str(result_table(result).caption)


@pytest.mark.parametrize(
    ("interval", "reading"),
    [
        ([-0.01, 0.03], "the interval contains 0, so neither is shown to be better"),
        ([0.0, 0.03], "the interval contains 0, so neither is shown to be better"),
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
    assert "0, 4" not in caption_of(result)
    result["outlook"]["indistinguishable"] = [0, 4]
    assert "from trials 0, 4." in caption_of(result)
    result["outlook"]["indistinguishable"] = [4]
    assert "from trial 4." in caption_of(result)
    del result["outlook"]  # of a run that an older version concluded
    assert "Noise" not in caption_of(result)


def test_the_verdict_minds_the_noise_between_seeds() -> None:
    result, _ = finished_run()
    assert comparison_line(result).endswith("by more than the noise between seeds.")
    result["outlook"]["indistinguishable"] = [0]
    assert comparison_line(result).endswith("on these images, but within the noise between seeds.")
    result["outlook"]["noise"] = None
    assert comparison_line(result).endswith("; the noise between seeds is unknown.")
    result["comparison"]["interval"] = [-0.01, 0.02]
    assert comparison_line(result).endswith("so neither is shown to be better.")


def test_the_exported_replicate_stands_for_itself() -> None:
    result, _ = finished_run()
    del result["model"]  # as an earlier version wrote it
    for raw in result["table"]:
        raw["replicates"] = [0.91, 0.92, 0.93]
    row = final_row(rows_of(result), "winner")
    assert row is not None
    result["exported"]["replicate"] = 2
    assert exported_alone(result) == f"92.00 % of {row.n} TEST2 images (held out)"
    result["retrain"]["replicates"] += 1  # the race gave the winner fewer
    assert exported_alone(result) != ""
    result["retrain"]["candidates"][-1]["failed"] = ["diverged"]
    assert exported_alone(result) == ""


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
