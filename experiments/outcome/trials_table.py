"""`trials.csv`: one row per trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from shiftsearch.data.publishing import write_atomically
from shiftsearch.model.hyperparameters import Hyperparameters, Value
from shiftsearch.model.objective import ACCURACY
from shiftsearch.model.result import Stage
from shiftsearch.search.study.records import TrialRecord, objective_of

_WHEN: Mapping[str, Stage] = {"before": "baseline", "after": "fine_tune"}
_COSTS = {"parameters": "Int64", "multiply_adds": "Int64", "latency_ms": "Float64"}
_KINDS = {bool: "boolean", int: "Int64", float: "Float64", str: "string"}


def trials_frame(
    trials: Sequence[TrialRecord], defaults: Mapping[str, Value] | None = None
) -> pd.DataFrame:
    """A table with one row per trial; absent values are missing, never NaN.

    Columns: number, state, role, branch_of (the trial whose baseline it fine-tunes; missing if it
    trained its own), retry_of (the failed trial that it tries again; no column if none does),
    stopped_at (baseline epochs), test2_accuracy (the objective, selection part),
    {test,test2}_accuracy_{before,after}, {baseline,fine_tune}_epochs, seconds,
    costs of the network (parameters, multiply_adds, latency_ms; those that are known), one per
    hyperparameter under its dotted name, host, node_id, device and busy_seconds (where it ran; no
    columns if no trial has them), reason. With another objective than accuracy its name
    stands for `accuracy` in the objective's column, and it has columns before and after. A
    hyperparameter that neither the reference configuration nor any trial has gets no column.

    Args:
        trials: by number.
        defaults: a value of the right type for each hyperparameter, by name; None: those of
            `Hyperparameters`.
    """
    kinds = {"number": "Int64", "state": "string", "role": "string", "branch_of": "Int64"}
    kinds |= {"retry_of": "Int64"} if any(t.retry_of is not None for t in trials) else {}
    objective = objective_of(trials)
    kinds |= {"stopped_at": "Int64", objective.column: "Float64"}
    shown = [f"{s}_accuracy" for s in ("test", "test2")]
    shown += [] if objective == ACCURACY else [objective.column]
    kinds |= {f"{name}_{when}": "Float64" for name in shown for when in _WHEN}
    kinds |= {f"{stage}_epochs": "Int64" for stage in _WHEN.values()} | {"seconds": "Float64"}
    known = {name for t in trials for name in t.costs}
    kinds |= {name: kind for name, kind in _COSTS.items() if name in known}
    held = Hyperparameters().to_flat().keys() | {k for t in trials for k in t.configuration}
    for name, value in (defaults or Hyperparameters.defaults()).items():
        if name in held:
            kinds[name] = _KINDS[type(value)]
    if any(t.place is not None for t in trials):
        kinds |= {"host": "string", "node_id": "string", "device": "string"}
        kinds["busy_seconds"] = "Float64"
    kinds["reason"] = "string"
    rows = [_trial_row(trial) for trial in trials]
    return pd.DataFrame(rows, columns=list(kinds), dtype=object).astype(kinds)


def _trial_row(trial: TrialRecord) -> dict[str, Any]:
    row: dict[str, Any] = {
        "number": trial.number,
        "state": trial.written_state,
        "role": trial.role,
        "branch_of": trial.branch_of,
        "retry_of": trial.retry_of,
        "stopped_at": trial.stopped_at,
        trial.objective.column: trial.value,
        "seconds": trial.seconds,
        "reason": trial.reason or None,
        **trial.costs,
        **trial.configuration,
    }
    if (place := trial.place) is not None:
        row |= {"host": place.host, "node_id": place.node_id or None, "device": place.device}
        row["busy_seconds"] = place.seconds
    if trial.result is None:
        return row
    for when, stage in _WHEN.items():
        found = trial.result.stage(stage)
        row[f"{stage}_epochs"] = found.epochs
        row[f"test_accuracy_{when}"] = found.test.accuracy
        row[f"test2_accuracy_{when}"] = found.test2.accuracy
        row[f"{trial.objective.column}_{when}"] = trial.objective.of_split(found.test2)
    return row


def write_trials_csv(trials: Sequence[TrialRecord], path: Path) -> None:
    """Write `trials_frame` as UTF-8 CSV; missing values are empty cells."""
    write_atomically(path, trials_frame(trials).to_csv(index=False).encode())
