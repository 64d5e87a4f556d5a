"""Each rule on trials gives advice in a case that supports it, and else nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shiftsearch.experiments.analysis.inside import LayerChange
from shiftsearch.experiments.analysis.run_analysis import Analysis
from shiftsearch.experiments.report.advice import advice
from shiftsearch.experiments.report.advice_on_trials import (
    fix,
    freeze,
    longer_stages,
    lower_rates,
    wider_domains,
)
from shiftsearch.search.judging.importance import Importance, ParameterImportance
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord
from tests.experiments.protocol_results import (
    complete,
    failed,
    finished_run,
    reference_only,
)
from tests.experiments.report.made_analysis import made_analysis

pytestmark = pytest.mark.unit

RATE, FROZEN = "fine_tune.learning_rate", "fine_tune.frozen_layers"
SPACE = Space.parse(
    {
        "baseline": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
        "fine_tune": {
            "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "frozen_layers": {"low": 0, "high": 3},
            "augmentation": {"rotation": {"low": 0, "high": 20, "step": 5}},
        },
    }
)


def result_with(**changes: Any) -> dict[str, Any]:
    result, _ = finished_run()
    return result | changes


def at(number: int, value: float, **values: float) -> TrialRecord:
    return complete(number, value, **{RATE: 1e-3, "baseline.learning_rate": 1e-3} | values)


def test_wider_domains_when_the_best_and_the_winner_lie_at_an_end() -> None:
    best = [at(n, 0.95, **{RATE: 0.0095, FROZEN: 0}) for n in range(3)]
    rest = [at(n, 0.8, **{FROZEN: n % 4}) for n in range(3, 12)]
    result = result_with(winner={"number": 0, "configuration": best[0].configuration})
    (said,) = wider_domains(result, [*best, *rest], SPACE)  # fewer than 0 layers are not frozen
    assert said == (
        "Widen fine_tune.learning_rate to 0.03 in a new run, with "
        "--set space.fine_tune.learning_rate.high=0.03: the winner's 0.0095 and 3 of the best 3 "
        "trials lie at the end of its range, 0.01."
    )
    inside = result_with(winner={"number": 3, "configuration": rest[0].configuration})
    assert list(wider_domains(inside, [*best, *rest], SPACE)) == []
    alone = [best[0], *(at(n, 0.95) for n in (1, 2)), *rest]
    assert list(wider_domains(result, alone, SPACE)) == []


def test_a_baseline_at_an_end_counts_once_however_many_fine_tunes_it_has() -> None:
    rate = {"baseline.learning_rate": 0.01}
    family = [replace(at(n, 0.95, **rate), branch_of=0 if n else None) for n in range(6)]
    rest = [at(n, 0.8) for n in range(6, 18)]
    result = result_with(winner={"number": 0, "configuration": family[0].configuration})
    assert list(wider_domains(result, [*family, *rest], SPACE)) == []
    apart = [replace(t, branch_of=None) for t in family]
    (said,) = wider_domains(result, [*apart, *rest], SPACE)
    assert "baseline.learning_rate to 0.03" in said
    assert "4 of the best 4 baselines lie" in said


def importance(*shares: tuple[str, float, tuple[float, float], float]) -> Importance:
    return Importance(tuple(ParameterImportance(*share, 40) for share in shares), 40, 20, 40, 0)


def test_fix_wants_a_small_upper_end_beside_something_that_stands_out() -> None:
    large = (RATE, 0.97, (0.9, 0.99), 0.3)
    small = (FROZEN, 0.03, (0.0, 0.1), 0.3)
    (said,) = fix(result_with(), importance(large, small))
    assert "fine_tune.frozen_layers at 0 (importance 3.00 % [0.00, 10.00], n = 40)" in said
    assert RATE not in said
    assert list(fix(result_with(), importance(large, (FROZEN, 0.03, (0.0, 0.6), 0.3)))) == []
    assert list(fix(result_with(), importance((RATE, 0.97, (0.9, 1), 0.99), small))) == []
    assert list(fix(result_with(), None)) == []


def layered(frozen: int, *alike: float) -> Analysis:
    names = ("block 1", "block 2", "block 3", "dense 512", "head")
    layers = tuple(
        LayerChange(name, i < frozen, cka, 0.1, None)
        for i, (name, cka) in enumerate(zip(names, alike, strict=True))
    )
    return replace(made_analysis("ab"), layers=layers, cka_images=600)


def test_freeze_quotes_the_counts_when_they_stand_out() -> None:
    trials = [at(n, 0.9 if n % 2 else 0.8, **{FROZEN: 1 if n % 2 else 3}) for n in range(8)]
    found = importance((FROZEN, 0.9, (0.8, 1.0), 0.3))
    (said,) = freeze(result_with(), trials, found, None)
    assert said.startswith("Freeze 1 layer: the 4 complete trials")
    assert "90.00 %, against 80.00 % with 3 layers (n = 4)." in said
    # Fewer than three say nothing, and are not passed over in silence either.
    (said,) = freeze(result_with(), [*trials, at(8, 0.1, **{FROZEN: 0})], found, None)
    assert "with 3 layers (n = 4); too few to compare: no layer (n = 1)." in said
    assert list(freeze(result_with(), trials, None, None)) == []
    assert list(freeze(result_with(), trials[:4], found, None)) == []  # two of each


def test_freeze_what_stayed_alike_if_trials_bear_it_out() -> None:
    trials = [at(n, 0.9, **{FROZEN: 0 if n % 2 else 2}) for n in range(8)]
    alike = layered(0, 0.99, 0.97, 0.7, 0.5, 0.4)
    (said,) = freeze(result_with(), trials, None, alike)
    assert said.startswith("Try freezing 2 layers instead of 0")
    assert "CKA of 0.970 or more on 600 images" in said
    assert list(freeze(result_with(), trials, None, layered(2, 1, 1, 0.7, 0.5, 0.4))) == []
    few = replace(alike, cka_images=40)  # on which CKA lies high
    assert list(freeze(result_with(), trials, None, few)) == []
    worse = [replace(t, value=0.8) if t.configuration[FROZEN] == 2 else t for t in trials]
    assert list(freeze(result_with(), worse, None, alike)) == []


def ended_at(number: int, epochs: int, best_epoch: int) -> TrialRecord:
    trial = complete(number, 0.9)
    assert trial.result is not None
    stage = replace(trial.result.fine_tune, epochs=epochs, best_epoch=best_epoch)
    return replace(trial, result=replace(trial.result, fine_tune=stage))


def test_longer_stages_when_most_of_the_best_were_cut_short() -> None:
    cut, stopped = (
        [ended_at(n, 15, 15) for n in range(12)],
        [ended_at(n, 15, 11) for n in range(12)],
    )
    (said,) = longer_stages(result_with(), cut)
    assert said.startswith("Raise protocol.fine_tune.max_epochs above 15 in a new run: in 3 of")
    assert list(longer_stages(result_with(), stopped)) == []


def test_lower_rates_when_the_upper_third_failed_more_often() -> None:
    def lost(number: int, rate: float, reason: str) -> TrialRecord:
        trial = failed(number, reason)
        return replace(trial, configuration={**trial.configuration, RATE: rate})

    fine = [at(n, 0.9) for n in range(12)]
    high = [lost(n, 0.009, "epoch 1: loss nan") for n in range(12, 16)]
    (said,) = lower_rates([*fine, *high], SPACE)
    assert said == (
        "Lower the upper end of fine_tune.learning_rate, 0.01, in a new run: above 0.00215, 4 of "
        "4 trials failed; below it, 0 of 12."
    )
    gone = [replace(t, lost=True) for t in high]
    assert list(lower_rates([*fine, *gone], SPACE)) == []
    worded = [replace(t, reason="lost its worker 4 times; last: x") for t in high]
    assert list(lower_rates([*fine, *worded], SPACE)) == [said]
    # The fine-tunes of one baseline do not make its rate safer.
    rate = "baseline.learning_rate"
    high = [
        replace(failed(n, "x"), configuration=at(n, 0, **{rate: 9e-3}).configuration)
        for n in range(4)
    ]
    low = [at(4, 0.9), *(replace(at(n, 0.9), branch_of=4) for n in range(5, 20))]
    assert list(lower_rates([*high, *low], SPACE)) == []
    spread = [lost(n, 1e-3, "epoch 1: loss nan") for n in range(16, 20)]
    assert list(lower_rates([*fine[:2], *high[:3], *spread], SPACE)) == []


# ---- all of it


def test_a_run_without_anything_to_say_gets_no_advice_on_its_trials() -> None:
    """Trials with noise only: no hyperparameter has an effect."""
    rng = np.random.default_rng(0)
    trials = [
        complete(
            n,
            0.8 + float(rng.normal(0, 0.01)),
            **{
                RATE: float(10 ** rng.uniform(-4, -2)),
                "baseline.learning_rate": float(10 ** rng.uniform(-4, -2)),
                FROZEN: int(rng.integers(4)),
            },
        )
        for n in range(40)
    ]
    result = result_with(winner={"number": 1, "configuration": trials[1].configuration})
    said = advice(result, trials, SPACE, None, None)
    assert [s.split()[0] for s in said] == ["Use", "Judge"]


def test_the_published_protocol_alone_gets_no_advice() -> None:
    result, trials = reference_only()
    assert advice(result, trials, Space({}, {}), None, None) == []
    del result["outlook"]  # of a run before there was one
    assert advice(result, trials, Space({}, {}), None, None) == []
