"""Each rule speaks on a made case that carries it, with its numbers, and not on its opposite."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from experiments.report.advice import advice
from experiments.report.advice_on_result import (
    cheaper_alike,
    images_needed,
    more_trials,
    search_flattered,
    weakest_class,
    which_to_use,
)
from experiments.report.advice_on_trials import (
    fix,
    freeze,
    longer_stages,
    lower_rates,
    wider_domains,
)
from experiments.report.analysis import Analysis
from experiments.report.inside import LayerChange
from search.importance import Importance, Share
from search.records import TrialRecord
from search.space import Space
from tests.experiments.protocol_results import (
    complete,
    confusion,
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


def comparison(difference: float, low: float, high: float, part: str = "held-out") -> Any:
    return {"part": part, "n": 500, "difference": difference, "interval": [low, high]}


def outlook(sd: float, gain: float, high: float, alike: tuple[int, ...] = ()) -> dict[str, Any]:
    return {
        "noise": {"sd": sd, "degrees": 4, "interval": [sd / 2, 2 * sd]},
        "expected_gain": {"more": 20, "gain": gain, "interval": [gain / 2, high]},
        "indistinguishable": list(alike),
    }


# ---- the final numbers


@pytest.mark.parametrize(
    ("low", "high", "begins"),
    [
        (0.01, 0.05, "Use the winner, trial 17: +2.00 points [+1.00, +5.00]"),
        (-0.05, -0.01, "Keep the reference configuration: the winner is"),
        (-0.01, 0.05, "Keep the reference configuration until more is known"),
    ],
)
def test_which_to_use_follows_the_interval(low: float, high: float, begins: str) -> None:
    (said,) = which_to_use(result_with(comparison=comparison(0.02, low, high)))
    assert said.startswith(begins)
    assert "on 500 images" in said
    assert "flatters" not in said
    (on_selection,) = which_to_use(
        result_with(comparison=comparison(0.02, low, high, "selection"))
    )
    assert "flatters" in on_selection


def test_images_needed_grow_with_the_square_of_width_over_difference() -> None:
    (said,) = images_needed(result_with(comparison=comparison(0.01, -0.01, 0.03)))
    assert "about 2000 images in place of 500" in said
    assert "at 500 x 2.00^2, if that difference is right; even then it excludes 0 only" in said
    for told in (comparison(0.02, 0.01, 0.03), comparison(-0.01, -0.03, 0.01)):
        assert list(images_needed(result_with(comparison=told))) == []
    # A difference of nothing is no reason to collect 5000000 images.
    assert list(images_needed(result_with(comparison=comparison(1e-4, -0.01, 0.0102)))) == []


def test_cheaper_alike_prefers_the_reference_then_the_faster() -> None:
    _, trials = finished_run()
    slow = complete(17, 0.97)
    assert slow.result is not None
    slow = replace(
        slow, result=slow.result | {"baseline": slow.result["baseline"] | {"seconds": 60}}
    )
    timed = [*trials[:17], slow]
    told = result_with(outlook=outlook(0.01, 0.0, 0.001, (1,)))
    (said,) = cheaper_alike(told, timed)
    assert said.startswith("Where training time counts, prefer trial 1: trials 1 and 17 are")
    assert "took 32 s against 1 min 18 s of trial 17" in said
    assert list(cheaper_alike(told, trials)) == []  # as fast as the winner
    assert list(cheaper_alike(result_with(outlook=outlook(0.01, 0, 0.1)), timed)) == []
    known = outlook(0.01, 0.0, 0.001, (0,))
    (said,) = cheaper_alike(result_with(outlook=known, comparison=comparison(0, -0.1, 0.1)), timed)
    assert said.startswith("Prefer the reference configuration, trial 0, which is known")
    (said,) = cheaper_alike(result_with(outlook=known), timed)  # images tell them apart
    assert said.startswith("Retrain with more than 3 replicates")


def test_search_flattered_quotes_a_drop_above_the_noise_alone() -> None:
    (said,) = search_flattered(result_with())  # 97.22 % in the search, 96.17 % after; noise 0.71
    assert "97.22 % there and 96.17 % as the mean of 3 new replicates, 1.05 points" in said
    assert list(search_flattered(result_with(outlook=outlook(0.02, 0, 0)))) == []


def test_more_trials_only_where_gain_and_noise_are_apart() -> None:
    old = result_with()["search"] | {"complete": 20}
    (stop,) = more_trials(result_with(outlook=outlook(0.01, 0.002, 0.008), search=old))
    assert stop.startswith("Stop searching this space: 20 more trials are expected to add 0.20")
    young = old | {"complete": 19}
    assert list(more_trials(result_with(outlook=outlook(0.01, 0.002, 0.008), search=young))) == []
    # The best values are equal: a gain of 0 is no knowledge, unless nothing is left to gain.
    equal = result_with(outlook=outlook(0.01, 0, 0), search=old)
    assert list(more_trials(equal)) == []
    perfect = result_with(outlook=outlook(0.01, 0, 0), search=old | {"best_value": 1.0})
    assert len(list(more_trials(perfect))) == 1
    (on,) = more_trials(result_with(outlook=outlook(0.001, 0.004, 0.01)))
    assert on.startswith("Search on, with --trials 37")
    assert list(more_trials(result_with(outlook=outlook(0.005, 0.004, 0.01)))) == []


def test_weakest_class_is_named_when_chance_does_not_explain_it() -> None:
    rows = confusion(6, 87)
    assert list(weakest_class(result_with())) == []  # all alike
    rows[2][2], rows[2][5] = 60, 27
    matrices = {"winner": {"after": rows}, "split": "TEST2", "part": "selection"}
    (said,) = weakest_class(result_with(confusion=matrices))
    assert "images of 2, or collect more" in said
    assert "60 of 90 of them, 66.67 % [52.78, " in said
    assert "27 were taken for 5" in said


# ---- the trials


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
        "trials lie at the end of its domain, 0.01."
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
    return Importance(tuple(Share(*share, 40) for share in shares), 40, 20, 40, 0)


def test_fix_wants_a_small_upper_end_beside_something_that_stands_out() -> None:
    large = (RATE, 0.97, (0.9, 0.99), 0.3)
    small = (FROZEN, 0.03, (0.0, 0.1), 0.3)
    (said,) = fix(result_with(), importance(large, small))
    assert "fine_tune.frozen_layers at 0 (share 3.00 % [0.00, 10.00], n = 40)" in said
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
    assert said == (
        "Freeze 1 layer: the 4 complete trials that did had the highest median accuracy, 90.00 %, "
        "against 80.00 % with 3 layers (n = 4). They differ in other hyperparameters too."
    )
    # Fewer than three say nothing, and are not passed over in silence either.
    (said,) = freeze(result_with(), [*trials, at(8, 0.1, **{FROZEN: 0})], found, None)
    assert "with 3 layers (n = 4); too few to compare: no layer (n = 1). They differ" in said
    assert list(freeze(result_with(), trials, None, None)) == []
    assert list(freeze(result_with(), trials[:4], found, None)) == []  # two of each


def test_freeze_what_stayed_alike_if_trials_bear_it_out() -> None:
    trials = [at(n, 0.9, **{FROZEN: 0 if n % 2 else 2}) for n in range(8)]
    alike = layered(0, 0.99, 0.97, 0.7, 0.5, 0.4)
    (said,) = freeze(result_with(), trials, None, alike)
    assert said.startswith("Try freezing 2 layers in place of 0: though free")
    assert "CKA of 0.970 or more on 600 images" in said
    assert list(freeze(result_with(), trials, None, layered(2, 1, 1, 0.7, 0.5, 0.4))) == []
    few = replace(alike, cka_images=40)  # on which CKA lies high
    assert list(freeze(result_with(), trials, None, few)) == []
    worse = [replace(t, value=0.8) if t.configuration[FROZEN] == 2 else t for t in trials]
    assert list(freeze(result_with(), worse, None, alike)) == []


def ended_at(number: int, epochs: int, best_epoch: int) -> TrialRecord:
    trial = complete(number, 0.9)
    stage = (trial.result or {})["fine_tune"] | {"epochs": epochs, "best_epoch": best_epoch}
    return replace(trial, result=(trial.result or {}) | {"fine_tune": stage})


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
        "4 trials failed, below 0 of 12."
    )
    gone = [replace(t, reason="lost its worker 4 times; last: x") for t in high]
    assert list(lower_rates([*fine, *gone], SPACE)) == []
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
    """Noise: no value of any hyperparameter goes with anything."""
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
