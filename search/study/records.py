"""Records of trials, read from Optuna's study."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.objective import ACCURACY, OBJECTIVES, Objective
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.places import Place, place_from
from shiftsearch.search.study.journal import read_journal, readable

LOST_BEFORE = re.compile(r"lost its worker 4 times; last: ")
"""The beginning of the reason for a job whose worker was lost too often, in the first version."""
DIVERGED = re.compile(r"must be finite|that is not finite")
"""In the reason of a failure that the configuration itself caused, in all versions."""

State = Literal["waiting", "running", "complete", "pruned", "failed", "refused"]
"""A refused trial broke a constraint and was never trained; Optuna's state for it is PRUNED."""
_STATES: Mapping[TrialState, State] = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}

STAGE_STEPS = "stage_steps"
"""Attribute of a complete trial: the steps of the intermediate values that are no rungs."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial of the study.

    Attributes:
        number: counted from 0.
        state: the trial's state.
        role: "reference", "point" or "sampled".
        value: the objective on the selection part; None unless complete.
        configuration: full and canonical; empty while waiting.
        result: the protocol's result; None unless complete.
        reason: why the trial failed, was stopped or refused; empty otherwise.
        seconds: time from ask to end by the driver's clock; None while open.
        branch_of: the trial whose baseline it fine-tunes; None if it trains its own.
        has_baseline: whether its baseline is trained to the end.
        intermediate: the objective after a whole fine-tune, by the baseline epochs before it.
        lost: whether it failed because its worker was lost too often. This does not speak against
            its configuration.
        objective: what `value` and `intermediate` are.
        costs: `parameters`, `multiply_adds` and perhaps `latency_ms` of its network; empty for a
            trial of an earlier version.
        infeasible: whether it breaks a constraint; such a trial cannot win.
        retry_of: the failed trial whose configuration it tries again; None if it is no such trial.
        place: where it ran last, and for how long; None while it is open, or if it is unknown.

    Raises:
        ValueError: a complete trial lacks its value or result, another trial has one, or a failed
            trial has no reason.
    """

    number: int
    state: State
    role: str
    value: float | None
    configuration: Mapping[str, Value]
    result: ProtocolResult | None
    reason: str
    seconds: float | None
    branch_of: int | None = None
    has_baseline: bool = False
    intermediate: Mapping[int, float] = field(default_factory=dict)
    lost: bool = False
    objective: Objective = ACCURACY
    costs: Mapping[str, float] = field(default_factory=dict)
    infeasible: bool = False
    retry_of: int | None = None
    place: Place | None = None

    def __post_init__(self) -> None:
        is_complete = self.state == "complete"
        for name, found in (("value", self.value), ("result", self.result)):
            if (found is not None) != is_complete:
                has = "no" if found is None else "a"
                raise ValueError(f"trial {self.number} is {self.state}, but has {has} {name}")
        if self.state == "failed" and not self.reason:
            raise ValueError(f"trial {self.number} is failed, but has no reason")

    @property
    def has_ended(self) -> bool:
        """Whether the trial is complete, pruned or failed; a refused one never began."""
        return self.state in ("complete", "pruned", "failed")

    @property
    def diverged(self) -> bool:
        """Whether it failed because a loss or its value was not finite.

        Any other failure may have had a cause outside the configuration, which may be gone.
        """
        return self.state == "failed" and not self.lost and bool(DIVERGED.search(self.reason))

    @property
    def written_state(self) -> str:
        """The state as written to files; these use Optuna's name `fail` for a failed trial."""
        return "fail" if self.state == "failed" else self.state

    @property
    def root(self) -> int:
        """The number of the trial that trains or trained its baseline."""
        return self.number if self.branch_of is None else self.branch_of

    @property
    def stopped_at(self) -> int | None:
        """The baseline epochs after which the trial was stopped; None unless pruned."""
        return max(self.intermediate, default=None) if self.state == "pruned" else None

    @property
    def last_value(self) -> float | None:
        """The objective, or the last intermediate value of a stopped trial."""
        return self.value if self.stopped_at is None else self.intermediate[self.stopped_at]

    @property
    def trained_seconds(self) -> float | None:
        """Seconds of training, without another trial's baseline; None unless complete."""
        if self.result is None:
            return None
        own = self.result.baseline.seconds if self.branch_of is None else 0.0
        return own + self.result.fine_tune.seconds


def stage_values(configuration: Mapping[str, Value], stage: str) -> dict[str, Value]:
    """The hyperparameters of one stage; those that both stages share belong to the baseline."""
    is_last = stage == "fine_tune"
    return {k: v for k, v in configuration.items() if k.startswith("fine_tune.") == is_last}


def objective_in(identity: Mapping[str, str]) -> Objective:
    """The objective of a study with this identity."""
    return OBJECTIVES[identity.get("objective", ACCURACY.name)]


def objective_of(trials: Sequence[TrialRecord]) -> Objective:
    """The objective of a study's trials; accuracy if there is none."""
    return trials[0].objective if trials else ACCURACY


def is_infeasible(trial: FrozenTrial) -> bool:
    """Whether the trial breaks one of its constraints (`optuna.Trial.set_constraint`)."""
    return any(excess > 0 for excess in trial.constraints.values())


def is_refused(trial: FrozenTrial) -> bool:
    """Whether the trial was refused for its constraints, before it was trained."""
    return trial.state == TrialState.PRUNED and is_infeasible(trial)


def record_of(trial: FrozenTrial, objective: Objective = ACCURACY) -> TrialRecord:
    """The record of an Optuna trial of a study with this objective.

    Raises:
        ValueError: it is complete, but has no valid result.
    """
    attributes = trial.user_attrs
    seconds = trial.duration.total_seconds() if trial.duration is not None else None
    is_complete = trial.state == TrialState.COMPLETE
    # If a driver dies just before it ends a trial, an open trial has a result.
    try:
        result = ProtocolResult.from_json(attributes.get("result", {})) if is_complete else None
    except ValueError as error:
        raise ValueError(f"trial {trial.number}: its result {error}") from None
    return TrialRecord(
        trial.number,
        "refused" if is_refused(trial) else _STATES[trial.state],
        attributes.get("role", "sampled"),
        trial.value if is_complete else None,
        attributes.get("configuration", {}),
        result,
        attributes.get("reason") or ("unknown" if trial.state == TrialState.FAIL else ""),
        seconds,
        attributes.get("branch_of"),
        "baseline" in attributes or is_complete,
        _rungs(trial),
        lost=_is_lost(attributes),
        objective=objective,
        costs=attributes.get("costs", {}),
        infeasible=is_infeasible(trial),
        retry_of=attributes.get("retry_of"),
        place=place_from(attributes.get("place")),
    )


def _rungs(trial: FrozenTrial) -> dict[int, float]:
    """The intermediate values without those that are only shown in Optuna's dashboard."""
    shown = trial.user_attrs.get(STAGE_STEPS, ())
    return {step: value for step, value in trial.intermediate_values.items() if step not in shown}


def _is_lost(attributes: Mapping[str, Any]) -> bool:
    """The attribute `lost` of a trial.

    The first version did not write it; it is recognised by three losses and the reason.
    """
    was_lost = attributes.get("losses") == 3 and LOST_BEFORE.match(attributes.get("reason", ""))
    return bool(attributes.get("lost", was_lost))


def stored_trials(path: Path) -> list[TrialRecord]:
    """All trials of the study in a journal, by number; empty if it holds no study yet.

    Needs no lock and writes nothing; see `search.study.journal.read_journal`.

    Raises:
        search.study.journal.StudyDamaged: the journal cannot be read.
    """
    with readable(path):
        study = _stored_study(path)
        if study is None:
            return []
        objective = objective_in(study.user_attrs.get("identity", {}))
        return [record_of(t, objective) for t in study.get_trials(deepcopy=False)]


def stored_identity(path: Path) -> dict[str, str]:
    """The identity of the study in a journal, value by field; read like `stored_trials`.

    Raises:
        LookupError: the journal holds no study yet.
    """
    study = _stored_study(path)
    if study is None:
        raise LookupError("no study in it")
    return dict(study.user_attrs["identity"])


def _stored_study(path: Path) -> optuna.Study | None:
    storage = read_journal(path)
    names = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=names[0], storage=storage) if names else None


def best_trials(trials: Sequence[TrialRecord], count: int = 1) -> list[TrialRecord]:
    """The best complete trials with distinct configurations, best first, ties by number.

    Trials that break a constraint are left out.
    """
    complete = [t for t in trials if t.value is not None and not t.infeasible]
    complete.sort(key=lambda t: (-(t.value or 0.0), t.number))
    distinct: dict[tuple[tuple[str, Value], ...], TrialRecord] = {}
    for trial in complete:
        distinct.setdefault(tuple(sorted(trial.configuration.items())), trial)
    return list(distinct.values())[:count]


def best_families(trials: Sequence[TrialRecord], count: int) -> list[TrialRecord]:
    """The best trial of each of the best baselines; if these are too few, the next best trials.

    Trials with the same baseline share its luck under the search's seed. If it was only luck, all
    of them do worse when retrained.
    """
    ranked = best_trials(trials, len(trials))
    first: dict[int, TrialRecord] = {}
    for trial in ranked:
        first.setdefault(trial.root, trial)
    chosen = list(first.values())[:count]
    rest = [t for t in ranked if t.number not in {c.number for c in chosen}]
    return chosen + rest[: count - len(chosen)]
