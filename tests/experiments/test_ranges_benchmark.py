"""The comparison of ranges: what is read from a run, and the table of paired differences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shiftsearch.experiments.benchmarks.ranges import SETTINGS, Found, command, found, table
from shiftsearch.experiments.run_folder import Run

pytestmark = pytest.mark.unit


def test_a_run_gives_what_its_model_and_its_winner_have_on_the_held_out_part(
    tmp_path: Path,
) -> None:
    result = {
        "model": {
            "test2": [
                {"label": "selected on", "accuracy": 0.9},
                {"label": "held out", "accuracy": 0.8},
            ]
        },
        "numbers": [
            {"title": "reference", "held_out": {"accuracy": 0.1}},
            {"title": "winner", "held_out": {"accuracy": 0.7}},
        ],
        "search": {"complete": 12},
    }
    run = Run(tmp_path)
    run.result.write_text(json.dumps(result), encoding="utf-8")
    assert found(run) == Found(0.8, 0.7, 12)


def test_differences_are_paired_by_seed() -> None:
    first = [Found(0.50, 0.4, 10), Found(0.90, 0.4, 10)]
    second = [Found(0.51, 0.3, 20), Found(0.91, 0.3, 20)]
    *_, base, other = table({"a": first, "b": second})
    assert base.split(" | ")[4:] == ["-", "40.00 % (40.00 to 40.00)", "- |"]
    assert other.split(" | ")[2] == "20"
    assert other.split(" | ")[4] == "+1.00 (+1.00 to +1.00)"
    assert other.split(" | ")[6] == "-10.00 (-10.00 to -10.00) |"


@pytest.mark.parametrize("data", ["light", "images"])
def test_searches_differ_by_experiment_and_seed_alone(data: str, tmp_path: Path) -> None:
    one, other = (command(name, data, tmp_path, 8, 3, ["a=1"]) for name in ("demo", "full"))
    assert [word for word in one if word not in other] == ["demo"]
    assert {"seed=3", "a=1", *SETTINGS} <= set(one)
    assert ("--data" in one) == (data == "images")
    assert ("synthetic.drift=light" in one) == (data == "light")
