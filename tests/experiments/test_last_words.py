"""The commands that a search prints for its user are commands that a shell takes."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from shiftsearch.experiments.definition import Experiment, build
from shiftsearch.experiments.last_words import cost_of_folds, say_next
from shiftsearch.experiments.run_folder import Run

pytestmark = pytest.mark.unit


def commands(experiment: Experiment, folder: Path) -> list[list[str]]:
    """The words of the commands that are said, as a shell splits them."""
    said = io.StringIO()
    say_next(Console(file=said, width=20, markup=False), experiment, Run(folder))
    lines = said.getvalue().splitlines()
    next_ones = lines[lines.index("next:") + 1 :]
    return [shlex.split(part) for line in next_ones for part in line.split(" && ")]


@pytest.mark.parametrize("name", ["plain", "my run", "it's", "$HOME; rm", "Größe", "a&b"])
def test_paths_are_quoted_in_the_commands_that_are_printed(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    bundle = str(folder / "best")
    assert commands(build({"data": f"/data/{name}"}, "tests"), folder) == [
        ["tensorboard", "--logdir", str(folder / "tensorboard")],
        ["shiftsearch", "evaluate", bundle, f"/data/{name}"],
        ["shiftsearch", "predict", bundle, "IMAGE..."],
    ]
    made = f"{folder}-data"
    synthetic = build({"synthetic": {"seed": 3, "size": 20}}, "tests")
    assert commands(synthetic, folder)[1:3] == [
        [
            "shiftsearch",
            "data",
            "synthesize",
            made,
            "--seed",
            "3",
            "--size",
            "20",
            "--drift",
            "camera",
        ],
        ["shiftsearch", "evaluate", bundle, made],
    ]


def test_folds_say_what_they_cost() -> None:
    assert cost_of_folds(build({"trials": 24}, "tests")) == ""
    said = cost_of_folds(build({"trials": 24, "protocol": {"folds": 3}}, "tests"))
    assert "24 trials trains 3 fine-tunes" in said
    assert "retraining 4" in said
