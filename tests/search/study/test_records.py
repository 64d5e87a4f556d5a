"""A trial's record cannot contradict itself."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from shiftsearch.search.study.records import State, TrialRecord, record_of
from tests.made_results import made_result

pytestmark = pytest.mark.unit

COMPLETE = TrialRecord(3, "complete", "sampled", 0.5, {}, made_result(0.5), "", 1.0)
FAILED = TrialRecord(3, "failed", "sampled", None, {}, None, "diverged", 1.0)


@pytest.mark.parametrize("missing", ["value", "result"])
def test_a_complete_trial_has_a_value_and_a_result(missing: str) -> None:
    with pytest.raises(ValueError, match=f"trial 3 is complete, but has no {missing}"):
        replace(COMPLETE, **{missing: None})


@pytest.mark.parametrize("state", ["waiting", "running", "pruned", "failed"])
@pytest.mark.parametrize("given", ["value", "result"])
def test_no_other_trial_has_one(state: State, given: str) -> None:
    with pytest.raises(ValueError, match=f"trial 3 is {state}, but has a {given}"):
        replace(FAILED, state=state, **{given: getattr(COMPLETE, given)})


def test_a_failed_trial_has_a_reason() -> None:
    with pytest.raises(ValueError, match="no reason"):
        replace(FAILED, reason="")
    assert replace(FAILED, state="running", reason="").reason == ""


@pytest.mark.parametrize("state", list(TrialState))
def test_every_state_of_optuna_s_has_one_here_and_the_same_name_in_files(
    state: TrialState,
) -> None:
    """A driver that died just before a trial's end left its result: the trial still runs."""
    value = 0.5 if state == TrialState.COMPLETE else None
    trial = create_trial(
        state=state, value=value, user_attrs={"result": made_result(0.5).to_json()}
    )
    record = record_of(trial)
    assert record.written_state == state.name.lower()
    assert (record.state == "failed") == (state == TrialState.FAIL)
    assert record.has_ended == state.is_finished()
    assert record.result == (made_result(0.5) if state == TrialState.COMPLETE else None)


def test_a_complete_trial_of_another_program_is_refused() -> None:
    trial: optuna.trial.FrozenTrial = create_trial(state=TrialState.COMPLETE, value=0.5)
    with pytest.raises(ValueError, match="not a result"):
        record_of(trial)
