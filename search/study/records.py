"""Trials as the study knows them, read from Optuna's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.study.journal import read_journal

_LOST_BEFORE = re.compile(r"lost its worker 4 times; last: ")


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the study knows it.

    Attributes:
        number: counted from 0.
        state: waiting, running, complete, pruned or fail.
        role: "reference", "point" or "sampled".
        value: `test2_accuracy` on the selection part; None unless complete.
        configuration: full and canonical; empty while waiting.
        result: of the protocol; None unless complete.
        reason: why it failed, or at which rung it was stopped; empty otherwise.
        seconds: from ask to end by the driver's clock; None while open.
        branch_of: the trial whose baseline it takes up; None when it trains its own.
        has_baseline: whether its baseline is trained to the end.
        rungs: baseline epochs to `test2_accuracy` after a whole fine-tune from there.
        lost: whether it failed because its worker was lost too often: its configuration is not
            to blame.
    """

    number: int
    state: str
    role: str
    value: float | None
    configuration: Mapping[str, Value]
    result: ProtocolResult | None
    reason: str
    seconds: float | None
    branch_of: int | None = None
    has_baseline: bool = False
    rungs: Mapping[int, float] = field(default_factory=dict)
    lost: bool = False

    @property
    def root(self) -> int:
        """The trial that trains or trained its baseline."""
        return self.number if self.branch_of is None else self.branch_of

    @property
    def last_value(self) -> float | None:
        """The objective, or what a stopped trial had at its last rung."""
        if self.value is not None or self.state != "pruned" or not self.rungs:
            return self.value
        return self.rungs[max(self.rungs)]

    @property
    def trained_seconds(self) -> float | None:
        """Training time of what the trial did not find done; None unless complete."""
        if self.result is None:
            return None
        own = self.result.baseline.seconds if self.branch_of is None else 0.0
        return own + self.result.fine_tune.seconds


def stage_values(configuration: Mapping[str, Value], stage: str) -> dict[str, Value]:
    """The part of a flat configuration that is of one stage; what both share is the baseline's."""
    is_last = stage == "fine_tune"
    return {k: v for k, v in configuration.items() if k.startswith("fine_tune.") == is_last}


def record_of(trial: FrozenTrial) -> TrialRecord:
    """Optuna's trial as ours."""
    attributes = trial.user_attrs
    seconds = trial.duration.total_seconds() if trial.duration is not None else None
    is_complete = trial.state == TrialState.COMPLETE
    # A driver that dies just before it ends a trial leaves its result behind: not complete yet.
    result = ProtocolResult.from_json(attributes["result"]) if is_complete else None
    return TrialRecord(
        trial.number,
        trial.state.name.lower(),
        attributes.get("role", "sampled"),
        trial.value if is_complete else None,
        attributes.get("configuration", {}),
        result,
        attributes.get("reason", ""),
        seconds,
        attributes.get("branch_of"),
        "baseline" in attributes or is_complete,
        dict(trial.intermediate_values),
        lost=_is_lost(attributes),
    )


def _is_lost(attributes: Mapping[str, Any]) -> bool:
    """The attribute `lost` of a trial.

    The first version did not write it: there, such a trial has three losses and this reason.
    """
    was_lost = attributes.get("losses") == 3 and _LOST_BEFORE.match(attributes.get("reason", ""))
    return bool(attributes.get("lost", was_lost))


def stored_trials(path: Path) -> list[TrialRecord]:
    """All trials of the study in a journal, by number; none before it holds a study.

    Needs no lock and writes nothing; see `search.study.journal.read_journal`.
    """
    study = _stored_study(path)
    return [] if study is None else [record_of(t) for t in study.get_trials(deepcopy=False)]


def stored_identity(path: Path) -> dict[str, str]:
    """What the study in a journal was made with, field to value; read like `stored_trials`.

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
    """The best complete trials of distinct configurations, best first, ties by number."""
    complete = [t for t in trials if t.value is not None and t.state == "complete"]
    complete.sort(key=lambda t: (-(t.value or 0.0), t.number))
    distinct: dict[tuple[tuple[str, Value], ...], TrialRecord] = {}
    for trial in complete:
        distinct.setdefault(tuple(sorted(trial.configuration.items())), trial)
    return list(distinct.values())[:count]


def best_families(trials: Sequence[TrialRecord], count: int) -> list[TrialRecord]:
    """The best trial of each of the best baselines; where they are too few, the next best trials.

    Trials of one baseline share its luck under the search's seed, so the best few of all may
    stand and fall together.
    """
    ranked = best_trials(trials, len(trials))
    first: dict[int, TrialRecord] = {}
    for trial in ranked:
        first.setdefault(trial.root, trial)
    chosen = list(first.values())[:count]
    rest = [t for t in ranked if t.number not in {c.number for c in chosen}]
    return chosen + rest[: count - len(chosen)]
