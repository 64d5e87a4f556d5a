"""The state of a run, from the status that its driver writes, or else from its study.

Nothing here takes the run's lock, writes a file, or imports Ray or torch. So it is fast, and works
on any machine that can read the run folder.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from shiftsearch.experiments.live.board import Board
from shiftsearch.experiments.live.signs import Sign, read_status, sign_of_life, this_process
from shiftsearch.experiments.outcome.result_rows import final_row, read_result, rows_of
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.soundness import damaged
from shiftsearch.search.study.journal import StudyDamaged
from shiftsearch.search.study.records import TrialRecord, objective_of, stored_trials


def status_of(run: Run, watched: int | None = None) -> dict[str, Any]:
    """The state of a run as one JSON document.

    It has the keys of `experiments.live.board.Board.snapshot`, and:

    - `run`: the run's folder;
    - `source`: "status.json", or "study.journal" if there is no such file or the driver is gone;
      then single jobs are unknown, and `counts.running` is the number of open trials;
    - `written`, `beat`: from `status.json`, null without one;
    - `driver`: `alive` (null if unknown) and `text`, which gives the reason;
    - `result`: the result if the run is complete, else null;
    - `damage`: one line for each damaged file.

    Args:
        run: a run, running or not.
        watched: the first `beat` that the reader saw, if it reads repeatedly.

    Raises:
        experiments.run_folder.NotARun: the folder is not a run, or its study cannot be read.
    """
    if not run.journal.is_file():
        raise NotARun(f"{run.folder}: is not a run; it has no {run.journal.name}")
    status = read_status(run.status)
    known: dict[str, Any] = {"run": str(run.folder), "source": run.status.name}
    if status is None:
        sign = Sign(
            None,
            f"{run.status.name} is missing or of an older version; this is the study's state",
            0.0,
        )
        snapshot = _from_study(run)
        known |= {"source": run.journal.name, "written": None, "beat": None}
    else:
        sign = _sign(run, status, watched)
        snapshot = {k: v for k, v in status.items() if k != "process"}
        if status["outcome"] is None and sign.alive is False:
            snapshot = {**_from_study(run), "written": status["written"], "beat": status["beat"]}
            if snapshot["outcome"] is None:  # the study does not contain retraining
                snapshot |= {"phase": status["phase"], "retrain": status["retrain"]}
            known["source"] = run.journal.name
    complete = snapshot["outcome"] == "complete"
    return {
        "schema": snapshot["schema"],
        **known,
        **snapshot,
        "driver": {"alive": sign.alive, "text": sign.text},
        "result": _result(run) if complete else None,
        "damage": list(damaged(run).values()),
    }


def _sign(run: Run, status: dict[str, Any], watched: int | None) -> Sign:
    if status["outcome"] is not None:
        again = status["outcome"] in ("interrupted", "error")
        text = f"ended at {_moment(status['written'])}"
        return Sign(False, f"{text}; `{continuing(run)}` continues it" if again else text, 0.0)
    moved = watched is not None and status["beat"] != watched
    try:
        modified = run.status.stat().st_mtime
    except OSError:  # it is just being replaced
        modified = time.time()
    sign = sign_of_life(status, modified, time.time(), this_process(), moved)
    if sign.alive is False:
        text = f"no sign of life since {_moment(status['written'])} ({sign.text})"
        return Sign(False, f"{text}; `{continuing(run)}` continues it", sign.age)
    return sign


def continuing(run: Run) -> str:
    """The command that continues a run, quoted for a shell."""
    return f"shiftsearch search --run {shlex.quote(str(run.folder))}"


def _moment(written: str) -> str:
    return datetime.fromisoformat(written).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def trials_of(run: Run) -> list[TrialRecord]:
    """The study's trials as they are now.

    Raises:
        experiments.run_folder.NotARun: the folder holds no study.
    """
    try:
        return stored_trials(run.journal)
    except FileNotFoundError:
        raise NotARun(f"{run.folder}: is not a run; it has no {run.journal.name}") from None
    except StudyDamaged as error:
        raise NotARun(str(error)) from None


def _from_study(run: Run) -> dict[str, Any]:
    """A snapshot made from the study and the definition; it has no running jobs."""
    trials = trials_of(run)
    definition = definition_of(run)
    name, wanted = str(definition.get("name", "")), int(definition.get("trials", 0))
    board = Board(name, wanted, {}, trials, objective_of(trials))
    snapshot = board.snapshot()
    counts = snapshot["counts"]
    counts["running"] = sum(trial.state == "running" for trial in trials)
    concluded = _concluded(run, counts)
    if concluded is not None:
        board.close("complete")
        snapshot = {**board.snapshot(), "stop_reason": concluded.get("stopped", "")}
    else:
        snapshot["phase"] = "search"
    unknown = dict.fromkeys(("seconds", "phase_seconds", "concurrency"))
    return {**snapshot, **unknown}


def definition_of(run: Run) -> Mapping[str, Any]:
    """The run's experiment as it is written; empty if it cannot be read."""
    try:
        read = yaml.safe_load(run.definition.read_bytes())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return read if isinstance(read, Mapping) else {}


def _read_result(run: Run) -> dict[str, Any] | None:
    try:
        return read_result(run.result)
    except (OSError, NotARun):
        return None


def _concluded(run: Run, counts: Mapping[str, int]) -> Mapping[str, Any] | None:
    """The key `search` of `result.json`; None if trials have been added since it was written."""
    search: Mapping[str, Any] = (_read_result(run) or {}).get("search", {})
    done = search.get("complete", 0) + search.get("pruned", 0)
    then = {"wanted": search.get("asked"), "done": done, "failed": search.get("failed")}
    same = all(counts[key] == value for key, value in then.items())
    return search if same and not counts["running"] else None


def _result(run: Run) -> dict[str, Any] | None:
    """The final accuracies in `result.json`, and the paths of report and bundle."""
    result = _read_result(run)
    if result is None:
        return None

    def place(path: Path) -> str | None:
        return str(path) if path.exists() else None

    return {
        "winner": _final(result, "winner"),
        "reference": _final(result, "reference"),
        "comparison": result["comparison"],
        "report": place(run.report),
        "bundle": place(run.bundle),
    }


def _final(result: Mapping[str, Any], configuration: str) -> dict[str, Any] | None:
    """Accuracy after fine-tuning on TEST2's held-out part, else on its selection part."""
    row = final_row(rows_of(result), configuration)
    if row is None:
        return None
    kept = ("part", "label", "n", "accuracy", "interval")
    found = {key: getattr(row, key) for key in kept}
    found |= {"scores": dict(row.scores)} if row.scores else {}
    return {"number": result[configuration]["number"], **found}
