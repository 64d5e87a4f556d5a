"""`trials.csv` has every value of every trial, whatever became of it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from shiftsearch.experiments.live.trials_view import arranged, column_of, trials_table
from shiftsearch.experiments.outcome.trials_table import trials_frame, write_trials_csv
from shiftsearch.model.hyperparameters import Hyperparameters
from shiftsearch.model.objective import BALANCED_ACCURACY
from tests.experiments.protocol_results import branch, complete, failed, pruned, waiting
from tests.made_results import made_result, with_scores
from tests.search.conditional import AUGMENTED, FIELDS, ROTATION, SPACE, THAW_EVERY, UNFREEZING

pytestmark = pytest.mark.unit


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


def test_only_what_some_trial_has_gets_a_column_besides_the_reference_s() -> None:
    """An option that is off in all trials would be an empty column."""
    plain = list(trials_frame([complete(0, 0.5), waiting(1)]).columns)
    reference = list(Hyperparameters().to_flat())
    assert [name for name in plain if "." in name] == reference
    averaged = replace(
        complete(1, 0.6),
        configuration=Hyperparameters().to_flat() | {"fine_tune.ema_decay": 0.9},
    )
    frame = trials_frame([complete(0, 0.5), averaged])
    assert set(frame.columns) - set(plain) == {"fine_tune.ema_decay"}
    assert list(frame["fine_tune.ema_decay"].isna()) == [True, False]


def test_another_objective_has_its_own_columns() -> None:
    result = with_scores(complete(0, 0.9).result or made_result(0.9), 0.5)
    trials = [
        replace(complete(0, 0.5), result=result, objective=BALANCED_ACCURACY),
        replace(waiting(1), objective=BALANCED_ACCURACY),
        replace(complete(2, 0.75), result=with_scores(result, 0.75), objective=BALANCED_ACCURACY),
    ]
    frame = trials_frame(trials)
    assert "test2_accuracy" not in frame
    assert list(frame["test2_balanced_accuracy"].dropna()) == [0.5, 0.75]
    assert list(frame["test2_balanced_accuracy_before"].dropna()) == [0.25, 0.375]
    assert list(frame["test2_accuracy_after"].dropna()) == [0.9, 0.9]
    assert column_of(frame, "after") == "test2_balanced_accuracy_after"
    assert list(arranged(frame, None, 2)["number"]) == [2, 0]
    assert list(arranged(frame, "test2_balanced_accuracy_before", None)["number"]) == [2, 0, 1]
    shown = io.StringIO()
    Console(file=shown, width=300).print(trials_table(frame, 300))
    assert {"balanced", "75.00", "37.50"} <= set(shown.getvalue().split())


def test_texts_switches_and_what_does_not_exist() -> None:
    values = [
        {UNFREEZING: "none"},
        {UNFREEZING: "gradual", THAW_EVERY: 3, AUGMENTED: True, ROTATION: 2.5},
    ]
    trials = [
        replace(complete(n, 0.5), configuration=SPACE.complete(v)) for n, v in enumerate(values)
    ]
    frame = trials_frame(trials, FIELDS.defaults)
    lines = list(csv.DictReader(io.StringIO(frame.to_csv(index=False))))
    assert [line[UNFREEZING] for line in lines] == ["none", "gradual"]
    assert [line[THAW_EVERY] for line in lines] == ["", "3"]
    assert [line[ROTATION] for line in lines] == ["", "2.5"]
    assert [line[AUGMENTED] for line in lines] == ["False", "True"]
    assert column_of(frame, "unfreezing") == UNFREEZING
    assert list(arranged(frame, THAW_EVERY, None)["number"]) == [1, 0]
    assert list(arranged(frame, UNFREEZING, None)["number"]) == [1, 0]
    assert list(arranged(frame, AUGMENTED, None)["number"]) == [0, 1]
    shown = io.StringIO()
    Console(file=shown, width=300).print(trials_table(frame, 300, UNFREEZING))
    assert {"gradual", "none", "true", "false"} <= set(shown.getvalue().split())
    assert "<NA>" not in shown.getvalue()
