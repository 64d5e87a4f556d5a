"""Which baseline is fine-tuned again, and which trial ends at a rung.

Numbers such as 2.18a name known defects of Ray Tune's ASHA, "halving" those of Optuna's
SuccessiveHalvingPruner, that must not occur here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.study.records import State, TrialRecord
from shiftsearch.search.study.tallies import Families, Intermediates
from tests.made_results import made_result

pytestmark = pytest.mark.unit

SHARED = Policy(branches=3, first_baselines=2)
HALF = Policy(rungs=(1, 3), keep=0.5, min_population=4)


def trial(
    number: int,
    value: float | None = None,
    state: State = "complete",
    branch_of: int | None = None,
    has_baseline: bool = True,
    rungs: Mapping[int, float] | None = None,
    role: str = "sampled",
) -> TrialRecord:
    result = None if value is None else made_result(value)
    reason = "diverged" if state == "failed" else ""
    return TrialRecord(
        number, state, role, value, {}, result, reason, None, branch_of, has_baseline, rungs or {}
    )


# ---- branches


def taken_up(trials: Iterable[TrialRecord], policy: Policy = SHARED) -> int | None:
    return policy.branch_of(Families(trials))


def test_no_baseline_is_taken_up_before_enough_were_begun() -> None:
    """A failed baseline does not count as begun; one that is being trained does."""
    assert taken_up([]) is None
    assert taken_up([trial(0, 0.9)]) is None
    assert taken_up([trial(0, 0.9), trial(1, None, "failed")]) is None
    assert taken_up([trial(0, 0.9), trial(1, None, "waiting", None, False)]) is None
    # A fine-tune of the first is no second baseline.
    assert taken_up([trial(0, 0.9), trial(1, 0.8, branch_of=0)]) is None
    assert taken_up([trial(0, 0.9), trial(1, None, "running", None, False)]) == 0


def test_the_best_mean_is_taken_up_not_the_best_value() -> None:
    lucky = [trial(0, 0.99), trial(1, 0.90), trial(2, 0.70, branch_of=0)]
    assert taken_up(lucky) == 1
    assert taken_up([*lucky[:2], trial(2, 0.82, branch_of=0)]) == 0


def test_ties_go_to_the_earlier_baseline() -> None:
    assert taken_up([trial(0, 0.8), trial(1, 0.9), trial(2, 0.9)]) == 1


def test_at_most_so_many_fine_tunes_then_new_baselines_until_one_is_better() -> None:
    """Running and failed ones count, so that an impossible fine-tune is not repeated for ever."""
    trials = [trial(0, 0.9), trial(1, 0.8)]
    trials += [trial(2, None, "running", 0), trial(3, None, "failed", 0)]
    assert taken_up(trials[:3]) == 0
    assert taken_up(trials) is None  # not the second best
    assert taken_up([*trials, trial(4, 0.85)]) is None
    assert taken_up([*trials, trial(4, 0.95)]) == 4


def test_baselines_may_be_taken_up_until_a_better_one_is_full_and_its_mean_stays() -> None:
    def may(trials: Iterable[TrialRecord], policy: Policy = SHARED) -> list[int]:
        return policy.may_branch_from(Families(trials))

    full = [trial(0, 0.9), trial(2, 0.9, branch_of=0), trial(3, None, "failed", 0)]
    assert may([trial(0, 0.9), trial(1, 0.8)]) == [0, 1]
    assert may([*full, trial(1, 0.8)]) == []
    assert may([*full, trial(1, 0.8), trial(4, 0.95)]) == [4]
    open_ = [*full[:2], trial(3, None, "running", 0)]
    assert may([*open_, trial(1, 0.8)]) == [1]  # its mean may fall
    assert may([*full[:2], trial(1, 0.8)], SHARED.model_copy(update={"branches": 1})) == []


def test_one_fine_tune_of_each_shares_nothing() -> None:
    alone = Policy(branches=1, first_baselines=1)
    assert taken_up([trial(0, 0.9), trial(1, 0.8)], alone) is None


@pytest.mark.parametrize("state", ["failed", "pruned", "running"])
def test_an_unfinished_or_failed_baseline_is_never_taken_up(state: State) -> None:
    """A pruned trial's last rung is no objective, however good."""
    other = trial(0, None, state, None, False, {1: 0.99})
    assert taken_up([other, trial(1, 0.5), trial(2, 0.4)]) == 1


def test_a_baseline_without_a_complete_trial_waits_for_one() -> None:
    """Its baseline may be trained, but its quality is unknown."""
    shared = trial(0, None, "running")
    assert taken_up([shared, trial(1, None, "running", None, False)]) is None
    assert taken_up([shared, trial(1, 0.1)]) == 1


# ---- rungs


def at_rung(*values: float, epochs: int = 1, state: str = "running") -> list[TrialRecord]:
    return [trial(n, None, state, rungs={epochs: v}) for n, v in enumerate(values)]


def stopped(trials: list[TrialRecord], epochs: int = 1, policy: Policy = HALF) -> list[int]:
    values = Intermediates(trials)
    return [
        t.number for t in trials if epochs in t.intermediate and policy.stops(t, epochs, values)
    ]


def test_the_better_share_goes_on() -> None:
    assert stopped(at_rung(0.4, 0.8, 0.6, 0.2)) == [0, 3]
    assert stopped(at_rung(0.4, 0.8, 0.6, 0.2, 0.5)) == [0, 3]  # the share is rounded up
    assert stopped(at_rung(0.5, 0.5, 0.5, 0.5)) == []  # level with the best


@pytest.mark.parametrize(("keep", "count", "on"), [(0.07, 100, 7), (1 / 3, 9, 3), (1.0, 9, 9)])
def test_the_share_is_not_rounded_up_from_a_whole_number(keep: float, count: int, on: int) -> None:
    """0.07 * 100 is 7.000000000000001."""
    policy = Policy(keep=keep, min_population=4)
    assert len(stopped(at_rung(*range(count)), policy=policy)) == count - on


def test_halving_the_first_arrivals_are_not_stopped() -> None:
    """Optuna's bootstrap_count prunes them; a decision rests on `min_population` values."""
    assert stopped(at_rung(0.9, 0.5, 0.1)) == []
    assert stopped(at_rung(0.9, 0.5, 0.1, 0.0)) == [2, 3]


def test_2_18a_after_the_first_arrivals_no_bad_one_passes() -> None:
    """ASHA lets all pass that come while a rung is small; here it ends at `min_population`."""
    good = at_rung(0.9, 0.8, 0.7)
    assert stopped([*good, trial(3, None, "running", rungs={1: 0.1})]) == [2, 3]


def test_2_15_a_late_rung_says_nothing_about_an_earlier_one() -> None:
    """2.15, halving: one value at a late rung was dropped into all lower ones."""
    late = [trial(n, None, "running", rungs={3: 0.95}) for n in range(8)]
    newcomers = [trial(8 + n, None, "running", rungs={1: v}) for n, v in enumerate((0.4, 0.5))]
    assert stopped([*late, *newcomers]) == []
    early = [trial(10 + n, None, "running", rungs={1: 0.3}) for n in range(2)]
    assert 8 not in stopped([*late, *newcomers, *early])


def test_2_18b_each_value_counts_at_its_own_budget() -> None:
    """2.18b: reports were counted, not epochs; a trial's first report may be its third epoch."""
    trials = [*at_rung(0.5, 0.6, 0.7, 0.4), trial(4, None, "running", rungs={3: 0.1})]
    assert not HALF.stops(trials[4], 3, Intermediates(trials))
    assert stopped(trials[:4]) == [0, 3]


def test_halving_branches_disturb_no_rung() -> None:
    """Branches report at no rung, so their final values do not count there."""
    branches = [trial(10 + n, 0.99, branch_of=0) for n in range(8)]
    trials = at_rung(0.5, 0.4, 0.3)
    assert stopped([*trials, *branches]) == []
    fourth = trial(3, None, "running", rungs={1: 0.2})
    assert stopped([*trials, fourth, *branches]) == stopped([*trials, fourth]) == [2, 3]


@pytest.mark.parametrize("role", ["reference", "point"])
def test_halving_the_reference_and_points_are_never_stopped(role: str) -> None:
    """But other trials are compared with them."""
    trials = at_rung(0.9, 0.8, 0.7, 0.6)
    worst = trial(4, None, "running", rungs={1: 0.0}, role=role)
    assert not HALF.stops(worst, 1, Intermediates([*trials, worst]))
    best = trial(4, None, "running", rungs={1: 1.0}, role=role)
    assert stopped([*trials[:3], best]) == [1, 2]


def test_halving_failed_trials_do_not_count() -> None:
    """They are not part of the population that others are compared with."""
    trials = at_rung(0.5, 0.4, 0.3)
    failed = [trial(10 + n, None, "failed", rungs={1: 0.9}) for n in range(5)]
    assert stopped([*trials, *failed]) == []
    fourth = trial(3, None, "running", rungs={1: 0.45})
    assert HALF.stops(trials[0], 1, Intermediates([*trials, fourth, *failed])) is False


def test_stopped_trials_still_count() -> None:
    """Otherwise the threshold would rise with each decision."""
    trials = at_rung(0.3, 0.2, 0.1, state="pruned")
    newcomer = trial(3, None, "running", rungs={1: 0.25})
    assert not HALF.stops(newcomer, 1, Intermediates([*trials, newcomer]))
