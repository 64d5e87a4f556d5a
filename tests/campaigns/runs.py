"""What a finished run must hold, however often it was killed, and how to start one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.collecting import NOTES
from shiftsearch.search.study.journal import open_journal

REPOSITORY = Path(__file__).resolve().parents[2]
KILLED = -signal.SIGKILL
MARK = "SHIFTSEARCH_CAMPAIGN"

_TIMES = {"seconds", "images_per_second", "trial_seconds"}
_OF_A_NODE = {"node_id"}
_OF_THE_CALL = {
    *("created", "command", "fingerprint", "held_out_looks", "environment", "dataset", "places"),
    "warnings",
}
"""Of `result.json`: what tells of the call, not of the numbers."""

Story = dict[str, Any]


def timeless(value: Any) -> Any:
    """JSON values without those that a clock gave, or Ray's name of a node."""
    if isinstance(value, Mapping):
        return {k: timeless(v) for k, v in value.items() if k not in _TIMES | _OF_A_NODE}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [timeless(v) for v in value]
    return value


def trials_of(run: Path) -> list[Story]:
    """The study's trials, read from the journal, which holds one study."""
    storage = open_journal(run / "study.journal")
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    return [
        {
            "number": t.number,
            "state": t.state.name,
            "value": t.value if t.state.name == "COMPLETE" else None,
            "drawn": t.params,
            **{k: t.user_attrs.get(k) for k in ("role", "configuration", "losses")},
            "result": timeless(t.user_attrs.get("result")),
        }
        for t in trials
    ]


def stored(run: Path) -> dict[str, str]:
    """Every entry of the store with tensors, by course and name, to a digest of them."""
    store, found = Run(run).store, {}
    for course, name in store.entries():
        if course == NOTES:  # of jobs that have not ended
            continue
        entry = store.load(course, name)
        assert entry is not None, f"{name} of {course} is damaged"
        if name.startswith("report-"):  # a stage's scores; they stand in the result as well
            continue
        content = {k: t.numpy().tobytes() for k, t in sorted(entry.tensors.items())}
        digest = hashlib.sha256(b"".join(k.encode() + v for k, v in content.items())).hexdigest()
        found[f"{course}/{name}"] = digest
    return found


def steps(folder: Path) -> list[tuple[str, int]]:
    """Stage and epoch of every point of a job's loss curves, as they were written."""
    events = [e for f in sorted(folder.iterdir()) for e in EventFileLoader(str(f)).Load()]
    tags = [(v.tag, e.step) for e in events for v in e.summary.value]
    return [(tag, step) for tag, step in tags if tag.endswith("/validation_loss")]


def story(run: Path) -> Story:
    """Everything in a run that must not depend on how often it was killed."""
    result = json.loads((run / "result.json").read_text())
    return {
        "trials": [{k: v for k, v in t.items() if k != "losses"} for t in trials_of(run)],
        "retrain": timeless(json.loads((run / "retrain.json").read_text())),
        "result": timeless({k: v for k, v in result.items() if k not in _OF_THE_CALL}),
        "bundle": {p.name: p.read_bytes() for p in sorted((run / "best").iterdir())},
        "store": stored(run),
        "curves": {p.name: steps(p) for p in (run / "tensorboard").iterdir() if p.is_dir()},
    }


def check_whole(run: Path, trials: int) -> None:
    """Check that all trials are complete, with one reference and no configuration twice."""
    found = trials_of(run)
    assert [t["state"] for t in found] == ["COMPLETE"] * trials
    assert [t["number"] for t in found] == list(range(trials))
    assert len({json.dumps(t["configuration"], sort_keys=True) for t in found}) == trials
    assert [t["role"] for t in found].count("reference") == 1


def files(run: Path) -> dict[str, str]:
    """Digests of a run's files by relative path, without files about its driver."""
    return {
        str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(run.rglob("*"))
        if p.is_file() and p.name not in ("run.lock", "status.json")
    }


class Starter:
    """Starts `shiftsearch` again and again, with strikes; see `dying_driver`."""

    def __init__(self, log: Path) -> None:
        self.log, self.mark = log, uuid.uuid4().hex
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("dying_driver.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )

    def environment(self) -> dict[str, str]:
        """The environment of all processes: ours, the drivers, and their Ray."""
        return {**os.environ, "PYTHONPATH": str(REPOSITORY), MARK: self.mark}

    def __call__(
        self,
        arguments: Sequence[str | Path],
        *strikes: str,
        environment: Mapping[str, str] | None = None,
        constants: Mapping[str, Any] | None = None,
    ) -> int:
        """Start once, with more variables, other constants; exit code, or minus the signal."""
        order = {
            "arguments": [str(a) for a in arguments],
            "strikes": strikes,
            "log": str(self.log),
            "environment": dict(environment or {}),
            "constants": dict(constants or {}),
        }
        with self.log.open("a") as log:
            log.write(f"\n---- {' '.join(order['arguments'])} {' '.join(strikes)}\n")
        inlet, outlet = self._process.stdin, self._process.stdout
        assert inlet is not None
        assert outlet is not None
        inlet.write(json.dumps(order) + "\n")
        inlet.flush()
        return int(outlet.readline())

    def said(self) -> str:
        """All that the starts have printed."""
        return self.log.read_text()

    def left_over(self) -> dict[int, str]:
        """Processes that starts have left, pid to command line."""
        found = {}
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                pid = int(folder.name)
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[pid] = title
        return {pid: title for pid, title in found.items() if pid != self._process.pid}

    def close(self) -> None:
        """End the forking process, and what killed drivers have left."""
        self._process.communicate()
        for pid in self.left_over():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
