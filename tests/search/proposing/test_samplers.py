"""Sampling: each baseline counts once, nothing is tried twice, start-up covers the space."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from shiftsearch.search.proposing.samplers import MODEL_FREE, MODELS, StageSampler
from shiftsearch.search.proposing.space import Space

pytestmark = pytest.mark.unit

RATE = {"low": 1e-4, "high": 1e-2, "log": True}
SPACE: Mapping[str, BaseDistribution] = Space.parse(
    {
        "baseline": {"learning_rate": RATE, "dropout": {"low": 0, "high": 0.6, "step": 0.1}},
        "fine_tune": {"learning_rate": RATE, "frozen_layers": {"low": 0, "high": 4}},
    }
).distributions
ROOTS = [
    {
        "baseline.learning_rate": 1e-4 * 1.5**n,
        "baseline.dropout": n % 7 / 10,
        "fine_tune.learning_rate": 1e-2 / 1.5**n,
        "fine_tune.frozen_layers": n % 5,
    }
    for n in range(9)
]
VALUES = [0.5 + 0.05 * n for n in range(9)]
GIVEN = {k: v for k, v in ROOTS[7].items() if k.startswith("baseline.")}
STAGES = ("tpe", "tpe-univariate", "gp")
GP = pytest.mark.slow(reason="a Gaussian process imports much of torch")


def by_name(*names: str) -> list[Any]:
    return [pytest.param(n, marks=GP) if n.startswith("gp") else n for n in names]


def trial(
    params: Mapping[str, Any],
    value: float | None,
    branch_of: int | None = None,
    state: TrialState = TrialState.COMPLETE,
    space: Mapping[str, BaseDistribution] = SPACE,
) -> FrozenTrial:
    return create_trial(
        state=state,
        value=value,
        params=dict(params),
        distributions=dict(space),
        user_attrs={} if branch_of is None else {"branch_of": branch_of},
    )


def roots() -> list[FrozenTrial]:
    return [trial(p, v) for p, v in zip(ROOTS, VALUES, strict=True)]


def branch(root: int, n: int, value: float | None) -> FrozenTrial:
    own = {"fine_tune.learning_rate": 2e-4 * (n + 1), "fine_tune.frozen_layers": 4}
    return trial({**ROOTS[root], **own}, value, root)


def ask(
    name: str,
    trials: Sequence[FrozenTrial],
    number: int = 50,
    seed: int = 3,
    space: Mapping[str, BaseDistribution] = SPACE,
    given: Mapping[str, Any] | None = None,
    start_up: int = 5,
) -> dict[str, Any]:
    """The values that trial `number` gets after these trials."""
    sampler = StageSampler(name, seed, number, space, given, start_up)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(trials)
    return study.ask(dict(space)).params


def stage(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {k: v for k, v in params.items() if k.startswith(name)}


# ---- stages


@pytest.mark.parametrize("name", by_name(*STAGES))
def test_a_baseline_counts_once_however_many_fine_tunes_it_has(name: str) -> None:
    """Ten branches of a mediocre baseline, all below its best, do not change the next baseline."""
    branches = [branch(4, n, VALUES[4] - 0.01 * n) for n in range(1, 11)]
    with_, without = ask(name, [*roots(), *branches]), ask(name, roots())
    assert stage(with_, "baseline.") == stage(without, "baseline.")
    assert stage(with_, "fine_tune.") != stage(without, "fine_tune.")  # there each one counts


@pytest.mark.parametrize("name", by_name(*STAGES))
def test_a_baseline_counts_with_its_best_fine_tune(name: str) -> None:
    """The best value counts for the root; stopped and running branches count less."""
    raised = [trial(p, 0.99 if n == 2 else VALUES[n]) for n, p in enumerate(ROOTS)]
    others = [branch(2, 1, 0.99), branch(2, 2, 0.1)]
    running = trial(ROOTS[2], None, 2, TrialState.RUNNING)

    def baselines(trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
        return [stage(ask(name, trials, number), "baseline.") for number in range(50, 54)]

    expected = baselines(raised)
    assert baselines([*roots(), *others, running]) == expected
    assert baselines(roots()) != expected


@pytest.mark.parametrize("name", by_name("tpe-joint", "gp-joint"))
def test_a_joint_model_counts_every_trial(name: str) -> None:
    """The control: without our weighting, a baseline counts once for each fine-tune."""
    branches = [branch(4, n, VALUES[4] - 0.01 * n) for n in range(1, 11)]
    with_, without = ask(name, [*roots(), *branches]), ask(name, roots())
    assert stage(with_, "baseline.") != stage(without, "baseline.")


@pytest.mark.parametrize("name", by_name(*MODELS, *MODEL_FREE))
@pytest.mark.parametrize("start_up", [5, 100])
def test_given_values_are_kept_to_the_bit(name: str, start_up: int) -> None:
    drawn = ask(name, roots(), given=GIVEN, start_up=start_up)
    assert stage(drawn, "baseline.") == GIVEN
    assert drawn not in ROOTS


@pytest.mark.parametrize("name", by_name(*STAGES))
def test_a_fine_tune_of_a_given_baseline_is_drawn_as_any_fine_tune(name: str) -> None:
    drawn, free = ask(name, roots(), given=GIVEN), ask(name, roots())
    assert stage(drawn, "fine_tune.") == stage(free, "fine_tune.")


@pytest.mark.parametrize("name", by_name(*MODELS))
def test_a_model_is_asked_once_enough_trials_ended(name: str) -> None:
    """Running and failed trials do not count; until then the start-up's points are tried."""
    unfinished = [trial(p, None, None, TrialState.RUNNING) for p in ROOTS]
    unfinished += [trial(p, None, None, TrialState.FAIL) for p in ROOTS]
    early = ask(name, [*roots()[:4], *unfinished])
    assert early == ask("qmc", []) != ask(name, roots()[:5])
    stopped = trial(ROOTS[5], 0.1, None, TrialState.PRUNED)
    assert ask(name, [*roots()[:4], stopped]) != early


# ---- nothing twice


SMALL: Mapping[str, BaseDistribution] = Space.parse(
    {
        "baseline": {
            "dropout": {"low": 0, "high": 0.6, "step": 0.1},
            "batch_size": {"choices": [32, 64, 128]},
        },
        "fine_tune": {"frozen_layers": {"low": 0, "high": 4}},
    }
).distributions


@pytest.mark.parametrize("name", ["tpe", "tpe-univariate", "tpe-joint", "qmc", "random"])
@pytest.mark.parametrize("start_up", [0, 1000])
def test_the_last_configuration_left_is_drawn(name: str, start_up: int) -> None:
    """One of 7 x 3 x 5 was not tried; steps were stored as 0.3, and are drawn as 3 * 0.1."""
    left = {"baseline.dropout": 0.3, "baseline.batch_size": 64, "fine_tune.frozen_layers": 2}
    every = [
        {"baseline.dropout": d / 10, "baseline.batch_size": b, "fine_tune.frozen_layers": f}
        for d in range(7)
        for b in (32, 64, 128)
        for f in range(5)
    ]
    trials = [trial(p, 0.5, space=SMALL) for p in every if p != left]
    drawn = ask(name, trials, space=SMALL, start_up=start_up)
    assert {k: round(v, 9) for k, v in drawn.items()} == left
    whole = [*trials, trial(left, 0.9, space=SMALL)]
    again = ask(name, whole, space=SMALL, start_up=start_up)  # none is left: one is drawn again
    assert {k: round(v, 9) for k, v in again.items()} in every


@pytest.mark.parametrize("name", ["tpe", "qmc", "random"])
def test_the_last_fine_tune_left_of_a_given_baseline_is_drawn(name: str) -> None:
    given = {"baseline.dropout": 0.1, "baseline.batch_size": 64}
    tuned = [{**given, "fine_tune.frozen_layers": n} for n in (0, 1, 3, 4)]
    drawn = ask(name, [trial(p, 0.5, space=SMALL) for p in tuned], space=SMALL, given=given)
    assert drawn == {**given, "fine_tune.frozen_layers": 2}


# ---- start-up


WIDE: Mapping[str, BaseDistribution] = Space.parse(
    {
        "baseline": {
            "learning_rate": RATE,
            "dropout": {"low": 0, "high": 0.6, "step": 0.1},
            "batch_size": {"choices": [32, 64, 96, 128]},
        },
        "fine_tune": {
            "batch_size": {"low": 32, "high": 256, "log": True},
            "label_smoothing": {"low": 0.0, "high": 0.2},
        },
    }
).distributions


def test_qmc_covers_every_kind_of_domain_evenly() -> None:
    """64 points: steps and choices occur equally often, each eighth of a range exactly 8 times."""
    points = [ask("qmc", [], n, space=WIDE) for n in range(64)]
    steps = Counter(round(p["baseline.dropout"] * 10) for p in points)
    assert set(steps) == set(range(7))  # 0.6 too, which is not 6 * 0.1
    assert set(steps.values()) <= {8, 9, 10}
    assert Counter(p["baseline.batch_size"] for p in points) == dict.fromkeys(
        (32, 64, 96, 128), 16
    )
    eighths = Counter(
        int(8 * math.log(p["baseline.learning_rate"] / 1e-4) / math.log(100)) for p in points
    )
    assert eighths == dict.fromkeys(range(8), 8)
    linear = Counter(int(8 * p["fine_tune.label_smoothing"] / 0.2) for p in points)
    assert linear == dict.fromkeys(range(8), 8)
    octaves = Counter(int(math.log2(p["fine_tune.batch_size"] / 32)) for p in points)
    assert all(20 <= octaves[k] <= 22 for k in (0, 1, 2))


def test_whole_numbers_on_a_log_scale_have_whole_ends() -> None:
    """The ends occur as often as the middle; plain rounding would halve their number."""
    space = Space.parse(
        {"fine_tune": {"batch_size": {"low": 8, "high": 10, "log": True}}}
    ).distributions
    sizes = Counter(ask("qmc", [], n, space=space)["fine_tune.batch_size"] for n in range(64))
    assert set(sizes) == {8, 9, 10}
    assert min(sizes.values()) >= 18


def test_points_depend_on_seed_and_number_alone() -> None:
    """Not on earlier trials or on the process; a restart continues the sequence."""
    points = [ask("qmc", [], n) for n in range(6)]
    assert [ask("qmc", roots(), n) for n in reversed(range(6))] == points[::-1]
    assert [ask("tpe", [], n) for n in range(6)] == points
    others = [ask("qmc", [], n, seed=4) for n in range(6)]
    assert not {str(p) for p in points} & {str(p) for p in others}
    assert len({str(p) for p in points}) == 6


@pytest.mark.parametrize("name", [*MODELS, *MODEL_FREE])
def test_an_empty_space_or_one_of_single_values_works(name: str) -> None:
    assert ask(name, [], space={}) == {}
    single = Space.parse({"fine_tune": {"batch_size": {"choices": [64]}}}).distributions
    past = [trial({"fine_tune.batch_size": 64}, 0.5, space=single)] * 6
    assert ask(name, past, space=single) == {"fine_tune.batch_size": 64}


@pytest.mark.parametrize("name", by_name(*MODELS))
@pytest.mark.parametrize("prefix", ["baseline.", "fine_tune."])
def test_a_space_of_one_stage_works(name: str, prefix: str) -> None:
    part = {k: d for k, d in SPACE.items() if k.startswith(prefix)}
    past = [trial(stage(p, prefix), v, space=part) for p, v in zip(ROOTS, VALUES, strict=True)]
    drawn = ask(name, past, space=part)
    assert drawn.keys() == part.keys()
    assert drawn not in [stage(p, prefix) for p in ROOTS]
