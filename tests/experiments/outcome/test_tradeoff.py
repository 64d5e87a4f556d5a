"""Several objectives and constraints in the tables, the report, the retraining and the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from shiftsearch.experiments.cli import main
from shiftsearch.experiments.definition import build
from shiftsearch.experiments.outcome.retrain import Candidate, Retraining
from shiftsearch.experiments.outcome.tradeoff import constraint_lines, tradeoff
from shiftsearch.experiments.outcome.trials_table import trials_frame
from shiftsearch.experiments.report.figures.front import cost_against_accuracy
from shiftsearch.experiments.report.findings import front_table
from shiftsearch.experiments.report.tradeoff_view import front_view, sizes
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.sections import Retrain
from shiftsearch.experiments.tensorboard.hparams import metrics
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.search.study.records import TrialRecord
from tests.experiments.protocol_results import complete, failed
from tests.experiments.report.test_figures import parse, texts
from tests.experiments.stored_runs import stored_run
from tests.made_results import made_result

pytestmark = pytest.mark.unit

OBJECTIVES = ["test2_accuracy", "parameters", "latency_ms"]
EXPERIMENT = build({"objectives": OBJECTIVES, "constraints": {"max_parameters": 5000}}, "tests")
REASON = "has 9,000 parameters, but constraints.max_parameters is 5,000"


def costing(trial: TrialRecord, parameters: int, latency: float = 1.0) -> TrialRecord:
    costs = {"parameters": parameters, "multiply_adds": 10 * parameters, "latency_ms": latency}
    return replace(trial, costs=costs)


@pytest.fixture
def trials() -> list[TrialRecord]:
    """The reference breaks the bound; 1 and 3 are on the front, 2 is dominated, 4 refused."""
    reference = replace(costing(complete(0, 0.95, role="reference"), 9000), infeasible=True)
    values = {"baseline.dropout": 0.1}
    return [
        reference,
        costing(complete(1, 0.9, **values), 4000),
        costing(complete(2, 0.8, **{"baseline.dropout": 0.2}), 4000),
        costing(complete(3, 0.7, **{"baseline.dropout": 0.3}), 1500, 0.25),
        replace(costing(failed(4, REASON), 9000), state="refused", infeasible=True),
    ]


def candidates(trials: Sequence[TrialRecord]) -> list[Candidate]:
    results = {1: made_result(0.85)}
    return [Candidate(n, trials[n].configuration, None, "TEST", results, {}) for n in (0, 1)]


@pytest.fixture
def result(trials: list[TrialRecord]) -> dict[str, Any]:
    return tradeoff(EXPERIMENT, trials, candidates(trials), ["a processor"])


def test_the_result_has_the_front_and_what_the_constraints_did(result: dict[str, Any]) -> None:
    assert result["front"]["objectives"] == OBJECTIVES
    first, last = result["front"]["points"]
    assert first == {
        "number": 1,
        "test2_accuracy": 0.9,
        "parameters": 4000,
        "latency_ms": 1.0,
        "mean": 0.85,
    }
    assert (last["number"], last["mean"]) == (3, None)
    assert result["constraints"] == {"max_parameters": 5000, "refused": 1, "reference": [REASON]}
    lines = constraint_lines(result)
    assert len(lines) == 3
    assert "1 configuration refused" in lines[0]
    assert REASON in lines[1]
    assert "a processor" in lines[2]


def test_a_plain_search_adds_nothing(trials: list[TrialRecord]) -> None:
    assert tradeoff(build({}, "tests"), trials, [], []) == {}
    assert constraint_lines({}) == []
    assert front_view({}, trials, 1) is None


def test_the_terminal_shows_the_front(result: dict[str, Any]) -> None:
    console = Console(width=100, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(front_table(result))
    shown = console.export_text()
    assert [line.split()[0] for line in shown.splitlines() if "4,000" in line] == ["1"]
    assert "85.00 %" in shown


def test_the_report_draws_each_cost(result: dict[str, Any], trials: list[TrialRecord]) -> None:
    view = front_view(result, trials, 1)
    assert view is not None
    assert len(view["figures"]) == 2
    assert [row[0] for row in view["rows"]] == ["1", "3"]
    root = parse(cost_against_accuracy(trials, [1, 3], "parameters", 1))
    label = str(root.get("aria-label"))
    assert "4 trials" in label
    assert "1,500 parameters, 70.00 %; 4,000 parameters, 90.00 %" in label
    assert {"2,000", "5,000"} <= set(texts(root))
    large = replace(trials[1], costs={"parameters": 300_000})
    root = parse(cost_against_accuracy([*trials, large], [1, 3], "parameters", 1))
    assert {"10,000", "100,000"} <= set(texts(root))


def test_the_report_names_the_sizes_of_retrained_networks_that_differ() -> None:
    def retrained(*counts: int) -> dict[str, Any]:
        named = [{"number": n, "costs": {"parameters": c}} for n, c in enumerate(counts)]
        return {"retrain": {"candidates": [*named, {"number": 9}]}}

    assert sizes(retrained(4000, 90)) == {0: "4,000 parameters", 1: "90 parameters"}
    assert sizes(retrained(90, 90)) == {}


def test_the_table_of_trials_has_the_costs_that_are_known(trials: list[TrialRecord]) -> None:
    frame = trials_frame(trials)
    assert list(frame["parameters"]) == [9000, 4000, 4000, 1500, 9000]
    assert list(frame["state"])[-1] == "refused"
    old = trials_frame([replace(t, costs={}) for t in trials])
    assert set(frame.columns) - set(old.columns) == set(trials[0].costs)
    assert metrics(trials[3])["final/latency_ms"] == 0.25


def test_the_front_is_retrained_and_a_broken_bound_never_wins(
    trials: list[TrialRecord], tmp_path: Path
) -> None:
    def retraining(costs: Sequence[str]) -> Retraining:
        once = Retrain(top_k=2, replicates=1)
        path = tmp_path / f"{len(costs)}.json"
        return Retraining(trials, once, Protocol(), None, path, lambda _: True, costs)

    assert [c.number for c in retraining([]).candidates()] == [0, 1, 2]
    several = retraining(["parameters"])
    assert [c.number for c in several.candidates()] == [0, 1, 3]
    while (job := several.ask()) is not None:
        several.finish(job, made_result({0: 0.99, 1: 0.6, 3: 0.8}[job.number]))
    winner = several.winner()
    assert winner is not None
    assert winner.number == 3


def test_only_a_run_with_several_objectives_has_a_front(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = stored_run(tmp_path / "plain")
    assert main(["trials", str(plain.folder), "--pareto"]) == 2
    assert "objectives" in capsys.readouterr().err
    run = stored_run(tmp_path / "run", objectives=["test2_accuracy", "parameters"])
    assert main(["trials", str(run.folder), "--pareto", "--csv"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.startswith("number,")
    assert rows == []  # its costs are unknown
    assert Run(run.folder).journal.exists()
