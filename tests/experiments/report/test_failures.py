"""Each sign of failure is found in a result made to show it, and none in a good one."""

from __future__ import annotations

import copy
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shiftsearch.experiments.definition import dump, load
from shiftsearch.experiments.outcome.statistics import wilson
from shiftsearch.experiments.report.advice import advice
from shiftsearch.experiments.report.failures import Sign, nothing_works, signs
from shiftsearch.experiments.report.remedies import command, options, rates_and_epochs
from shiftsearch.experiments.report.top import failure_lines
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord
from tests.experiments.protocol_results import (
    complete,
    confusion,
    finished_run,
    learnt,
    reference_only,
)

pytestmark = pytest.mark.unit


def result_with(**changes: Any) -> dict[str, Any]:
    result, _ = finished_run()
    return result | changes


def table(after: float, test_after: float = 0.97, test_before: float = 0.56) -> list[Any]:
    """The rows of reference and winner with these accuracies on TEST2, and on TEST."""
    rows = []
    for row in result_with()["table"]:
        value = after if row["stage"] == "after" else row["accuracy"]
        if row["split"] == "TEST":
            value = test_after if row["stage"] == "after" else test_before
        rows.append(row | {"accuracy": value, "interval": list(wilson(value, row["n"]))})
    return rows


def fit(train: float | None) -> dict[str, Any]:
    return {title: learnt(train) for title in ("winner", "reference")}


def compared(low: float, high: float) -> dict[str, Any]:
    return result_with()["comparison"] | {"difference": 0.0, "interval": [low, high]}


def keys(result: dict[str, Any], trials: list[TrialRecord] | None = None) -> list[str]:
    return [sign.key for sign in signs(result, finished_run()[1] if trials is None else trials)]


def seen(share: float, brightness: float = 0.6, **space: str) -> dict[str, Any]:
    """A result whose TEST2 is told from TRAIN by brightness, to this share; nothing is better."""
    result = result_with(comparison=compared(-0.01, 0.01))
    look = copy.deepcopy(result["dataset"]["appearance"])
    look["splits"]["TEST2"]["brightness"] = brightness
    look["shifts"][0]["rest"] = 0.5 * (1 - share)
    result["dataset"] = result["dataset"] | {"appearance": look}
    return result | {"space": result["space"] | space}


def small(epochs: int) -> list[TrialRecord]:
    """Fine-tunes of 1,080 images, which are 17 steps an epoch."""
    found = []
    for number in range(3):
        trial = complete(number, 0.9)
        assert trial.result is not None
        stage = replace(trial.result.fine_tune, epochs=epochs)
        found.append(replace(trial, result=replace(trial.result, fine_tune=stage)))
    return found


FAILED: dict[str, tuple[dict[str, Any], list[TrialRecord]]] = {
    "at_chance": (result_with(table=table(0.18)), small(12)),
    "nothing_learnt": (
        result_with(table=table(0.18, 0.17, 0.17), fit=fit(0.18)),
        small(12),
    ),
    "few_updates": (result_with(comparison=compared(-0.01, 0.01)), small(5)),
    "no_better": (result_with(comparison=compared(-0.01, 0.01)), small(12)),
    "brightness": (seen(0.9), small(12)),
}


def sign_of(key: str) -> Sign:
    return next(sign for sign in signs(*FAILED[key]) if sign.key == key)


def test_a_good_result_has_no_sign_with_or_without_the_newer_keys() -> None:
    assert keys(result_with()) == []
    old = result_with()
    del old["fit"]
    old["dataset"] = {k: v for k, v in old["dataset"].items() if k != "appearance"}
    assert keys(old) == []
    assert keys(old | {"table": table(0.18)}) == ["at_chance"]
    good = seen(0.9) | {"comparison": result_with()["comparison"]}
    assert keys(good, small(5)) == []  # neither dark images nor short stages did harm
    assert signs(*reference_only()) == []


@pytest.mark.parametrize(
    ("key", "figures"),
    [
        ("at_chance", ["18.00 % [14.99, 21.46]", "542 images (held out)", "16.67 %"]),
        ("nothing_learnt", ["18.00 % [16.94, 19.11]", "4800 images", "17.00 %", "16.67 %"]),
        ("few_updates", ["3 of 3 fine-tunes", "100", "85", "17"]),
        ("no_better", ["trial 17", "+0.00 points [-1.00, +1.00]", "542 images"]),
        ("brightness", ["90 %", "TRAIN to TEST2", "0.20 and 0.60", "0.25 and 0.25"]),
    ],
)
def test_each_sign_has_the_figures_that_it_is_based_on(key: str, figures: list[str]) -> None:
    said = sign_of(key).sentence
    assert [figure for figure in figures if figure not in said] == []


def test_signs_are_in_order_of_weight() -> None:
    everything = seen(0.9) | {"table": table(0.18, 0.17, 0.17), "fit": fit(0.17)}
    expected = ["at_chance", "nothing_learnt", "few_updates", "no_better", "brightness"]
    assert keys(everything, small(5)) == expected


@pytest.mark.parametrize(("after", "is_at_chance"), [(0.195, True), (0.21, False)])
def test_chance_is_met_where_the_interval_reaches_it(after: float, is_at_chance: bool) -> None:
    """Of 542 images: 19.5 % is [16.4, 23.0], and 21 % is [17.8, 24.6]; chance is 16.67 %."""
    assert (keys(result_with(table=table(after))) == ["at_chance"]) == is_at_chance


def test_chance_is_the_largest_class_unless_balanced_accuracy_is_known() -> None:
    dataset = result_with()["dataset"]
    uneven = dataset | {"counts": dataset["counts"] | {"TEST2": [900, 36, 36, 36, 36, 36]}}
    result = result_with(dataset=uneven, table=table(0.84))
    (sign,) = signs(result, small(12))
    assert "83.33 %" in sign.sentence
    score = {"value": 0.5, "interval": [0.4, 0.6], "replicates": [0.5]}
    rows = [row | {"scores": {"balanced_accuracy": score}} for row in result["table"]]
    assert keys(result | {"table": rows}) == []
    score["interval"] = [0.16, 0.6]
    assert keys(result | {"table": rows}) == ["at_chance"]


def test_a_baseline_that_fits_train_or_test_has_learnt() -> None:
    failed = {"table": table(0.18, 0.17, 0.17)}
    assert "nothing_learnt" in keys(result_with(**failed, fit=fit(0.25)))
    assert "nothing_learnt" not in keys(result_with(**failed, fit=fit(0.28)))  # above 25 %
    assert "nothing_learnt" not in keys(result_with(**failed, fit=fit(None)))
    on_test = result_with(table=table(0.18, 0.17, 0.5), fit=fit(0.17))
    assert "nothing_learnt" not in keys(on_test)


def test_stages_that_end_for_their_limit_are_short_as_well() -> None:
    few = Protocol().model_dump()
    few["fine_tune"] = few["fine_tune"] | {"max_epochs": 1, "min_updates": 100}
    result = result_with(protocol=few, comparison=compared(-0.01, 0.01))
    sign = next(s for s in signs(result, small(1)) if s.key == "few_updates")
    assert sign.settings == ("protocol.fine_tune.max_epochs=10",)  # 6 x 17 steps, patience 4


def test_the_winner_that_is_the_reference_is_told_unless_nothing_could_be_better() -> None:
    same = {"winner": result_with()["reference"], "comparison": None}
    (sign,) = signs(result_with(**same), small(12))
    assert (sign.key, sign.settings) == ("no_better", ("trials=40",))
    assert "17 complete trials" in sign.sentence
    best = [row | {"accuracy": 0.995} for row in table(0.995)]  # 2.7 errors of 542
    assert keys(result_with(**same, table=best)) == []
    many = result_with(**same, search=result_with()["search"] | {"complete": 20})
    (sign,) = signs(many, small(12))
    assert "trials=40" not in sign.settings
    assert "space.preprocessing.intensity={choices: [none, standardise]}" in sign.settings


@pytest.mark.parametrize(
    ("result", "is_told"),
    [
        (seen(0.7), True),
        (seen(0.6), False),  # mainly something else
        (seen(0.9, brightness=0.25), False),  # too little to matter
        (seen(0.9, **{"preprocessing.intensity": "one of 'none', 'standardise'"}), False),
        (seen(0.9, **{"fine_tune.augmentation.contrast": "0 to 0.3 (step 0.1)"}), False),
        (seen(0.9, **{"baseline.augmentation.brightness": "0.2"}), False),
    ],
)
def test_brightness_is_told_if_it_is_most_of_the_shift_and_nothing_meets_it(
    result: dict[str, Any], is_told: bool
) -> None:
    assert ("brightness" in keys(result)) == is_told


@pytest.mark.parametrize("key", FAILED)
@pytest.mark.parametrize("name", ["demo", "digits6", "full", "recommended", "reference"])
def test_the_experiment_takes_every_line(key: str, name: str, tmp_path: Path) -> None:
    """As a shell splits it, on the file of a run."""
    run = tmp_path / "experiment.yaml"
    run.write_text(dump(load(name, ["data=/images"])))
    sign = sign_of(key)
    words = shlex.split(sign.line)
    assert words[::2] == ["--set"] * len(sign.settings)
    changed = load(str(run), words[1::2])
    for setting in sign.settings:
        path, _, value = setting.partition("=")
        if path.startswith("space."):
            assert path.removeprefix("space.") in changed.search_space().distributions
        if path.startswith("protocol."):
            _, stage, field = path.split(".")
            assert getattr(getattr(changed.protocol, stage), field) == int(value)


def test_a_point_that_a_new_space_might_not_hold_is_dropped() -> None:
    result, trials = FAILED["at_chance"]
    assert "points=[]" not in signs(result, trials)[0].settings
    trials = [replace(trials[0], role="point"), *trials[1:]]
    assert signs(result, trials)[0].settings[-1] == "points=[]"


def test_the_command_continues_for_trials_and_else_begins_a_new_run(tmp_path: Path) -> None:
    run, new = tmp_path / "my run", tmp_path / "new"
    said = command(run, new, ["trials=40"])
    assert shlex.split(said) == ["shiftsearch", "search", "--run", str(run), "--trials", "40"]
    domain = "space.fine_tune.dropout={low: 0, high: 0.5}"
    epochs = "protocol.baseline.max_epochs"
    words = shlex.split(command(run, new, [f"{epochs}=15", domain, f"{epochs}=21", f"{epochs}=9"]))
    assert words[2:5] == [str(run / "experiment.yaml"), "--run", str(new)]
    assert words[5:] == ["--set", f"{epochs}=21", "--set", domain]
    assert options(["a=1", "b={c: d}"]) == "--set a=1 --set 'b={c: d}'"


def test_learning_rates_are_only_advised_for_the_optimiser_that_they_are_of() -> None:
    rate = "space.baseline.learning_rate={low: 0.0003, high: 0.002, log: true}"
    assert rates_and_epochs(result_with(), "baseline") == (rate,)
    space = result_with()["space"]
    of_sgd = result_with(space=space | {"baseline.optimiser": "'sgd'"})
    twice = ("protocol.baseline.max_epochs=30",)
    assert rates_and_epochs(of_sgd, "baseline") == twice
    known = result_with(space=space | {"baseline.learning_rate": "0.0003 to 0.002 (log)"})
    assert rates_and_epochs(known, "baseline") == twice


def test_failed_searches_get_no_advice_that_is_read_from_chance_or_that_a_sign_gives() -> None:
    rows = confusion(6, 87)
    rows[2][2], rows[2][5] = 60, 27
    matrices = {"winner": {"after": rows}, "split": "TEST2", "part": "selection"}
    space = Space({}, {})

    def advised(result: dict[str, Any]) -> list[str]:
        return advice(result, small(12), space, None, None)

    good = result_with(confusion=matrices)
    assert any("collect more" in line for line in advised(good))
    failed = good | {"table": table(0.18)}
    assert advised(failed) == []
    assert nothing_works(signs(failed, small(12)))
    alike = good | {"comparison": compared(-0.01, 0.01)}  # the model works, but is no better
    assert not nothing_works(signs(alike, small(12)))
    kept = advised(alike)
    assert any("reference configuration until more is known" in line for line in kept)
    assert not any("collect more" in line for line in kept)


def test_the_terminal_has_every_line_and_one_command_with_all_of_them(tmp_path: Path) -> None:
    assert failure_lines(tmp_path, []) == []
    found = signs(seen(0.9) | {"table": table(0.18)}, small(5))
    (tmp_path / "run-2").mkdir()
    lines = [line.strip() for line in failure_lines(tmp_path / "run", found)]
    assert [sign.line for sign in found if sign.line not in lines] == []
    again = shlex.split(lines[-1])
    assert again[4] == str(tmp_path / "run-3")
    assert {s for sign in found for s in sign.settings} == set(again[6::2])
