"""The commands that a search prints for its user are commands that a shell takes."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from shiftsearch.experiments.definition import DefinitionError, Experiment, build
from shiftsearch.experiments.last_words import cost_of_folds, say_next, say_why
from shiftsearch.experiments.run_folder import Run
from shiftsearch.search.study import ending
from shiftsearch.search.study.study import Study
from tests.made_results import made_result

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
    named = {"data": "/data", "images": {"target": name, "train": "a"}}
    assert commands(build(named, "tests"), folder)[1][3:] == [
        "/data",
        "--train",
        "a",
        "--target",
        name,
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


class _Large:
    """Every network has a million parameters."""

    def __init__(self) -> None:
        self.latencies: dict[str, dict[str, float | str]] = {}

    def __call__(self, configuration: object) -> dict[str, float]:
        return {"parameters": 1e6, "multiply_adds": 1.0}


def test_a_search_whose_trials_were_all_refused_is_wrong_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "MOST_REFUSALS", 3)
    space = {"baseline": {"dropout": {"low": 0.1, "high": 0.4}}}
    experiment = build(
        {"space": space, "trials": 9, "constraints": {"max_parameters": 5}, "policy": {}}, "tests"
    )
    study = Study(None, experiment.search_space(), experiment.settings(), {}, meter=_Large())
    while (job := study.ask()) is not None:
        study.finish(job, made_result(0.5))
    with pytest.raises(DefinitionError) as refused:
        say_why(Console(file=io.StringIO()), study, 0.5)
    (line,) = refused.value.problems
    assert "constraints.max_parameters: 5, but the least is 1,000,000" in line
