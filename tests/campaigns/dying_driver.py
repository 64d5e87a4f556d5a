"""Starts of `shiftsearch` that die at a named point.

Run as a script, it reads one start after another from its standard input, as JSON: `arguments` of
the command, `strikes`, `log`, a file for its output, and perhaps `environment` and `constants`, by
`module:NAME`. Each start is a fork of this process, so
that Torch and Ray are imported once, not once per kill. Its exit status goes to standard output.

A strike is `POINT:N`, the N-th time that the point of that name is passed, or `seconds:X`. It
kills the driver by SIGKILL; with `:workers` behind it, the driver's Ray workers instead. For what
else may stand there see `DEEDS`. The points are put into the driver's process from here: the
product knows nothing of them.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import pkgutil
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.storages.journal._storage import JournalOperation
from optuna.trial import TrialState

import shiftsearch.search.executing.tune
from shiftsearch.search.executing import reports
from shiftsearch.search.executing.trainable import run_job
from tests.campaigns import trouble


@dataclass(frozen=True)
class Point:
    """A call in the driver, before or after which to strike.

    Attributes:
        owner: of the called, a module or `module:class`.
        attribute: its name.
        after: strike when it has returned.
        when: of the call's arguments, whether it counts.
        half: call it with the first half of its last argument before striking.
    """

    owner: str
    attribute: str
    after: bool = False
    when: Callable[..., bool] = lambda *args: True
    half: bool = False


def _first_fine_tune_epoch(phase: str) -> Callable[..., bool]:
    """A call of a listener's `epoch` between the stages, when the baseline is stored."""
    return lambda _, job, stage, row: (job.phase, stage, row["epoch"]) == (phase, "fine_tune", 1)


def _of_weights(_: object, course: str, name: str) -> bool:
    """The removal of a finished stage's weights."""
    return name == "final"


def _of_question(_: object, lines: Sequence[bytes]) -> bool:
    """The lines of a new trial's question, which begin with its creation."""
    return len(lines) > 1 and json.loads(lines[0])["op_code"] == JournalOperation.CREATE_TRIAL


def _of_ending(_: object, lines: Sequence[bytes]) -> bool:
    """The lines of a trial's ending."""
    changes = (line for line in map(json.loads, lines) if "state" in line)
    return any(TrialState(change["state"]).is_finished() for change in changes)


_JOURNAL = "shiftsearch.search.study.journal:_OwnFile"
_STORE = "shiftsearch.model.store:FileStore"
_LISTENER = "shiftsearch.experiments.tensorboard.log:TensorBoardLog"
STRUCK = "struck a worker: "
FILLER = "SHIFTSEARCH_CAMPAIGN_FILLER"

POINTS = {
    "locking": Point("shiftsearch.search.study.stored_study", "open_journal"),
    "opening": Point("shiftsearch.search.study.stored_study:StoredStudy", "_check"),
    "enqueueing": Point("shiftsearch.search.study.study:Study", "_enqueue_known"),
    "asking": Point(_JOURNAL, "_write", when=_of_question, half=True),
    "asked": Point("shiftsearch.search.study.study:Study", "ask", after=True),
    "epoch": Point(_LISTENER, "epoch"),
    "between-stages": Point(_LISTENER, "epoch", when=_first_fine_tune_epoch("search")),
    "stored": Point("shiftsearch.search.study.study:Study", "finish"),
    "telling": Point("optuna.study:Study", "tell"),
    "told": Point("optuna.study:Study", "tell", after=True),
    "journal": Point(_JOURNAL, "_write"),
    "ended": Point(_JOURNAL, "_write", after=True, when=_of_ending),
    "retraining": Point(_LISTENER, "epoch", when=_first_fine_tune_epoch("retrain")),
    "retrained": Point("shiftsearch.experiments.outcome.retrain:Retraining", "finish"),
    "recorded": Point("shiftsearch.experiments.outcome.retrain:Retraining", "finish", after=True),
    "removing": Point(_STORE, "delete", when=_of_weights),
    "removed": Point(_STORE, "delete", after=True, when=_of_weights),
    "judging": Point("shiftsearch.experiments.conclusion", "judge"),
    "exporting": Point("shiftsearch.experiments.outcome.exported", "save_bundle"),
    "writing": Point("shiftsearch.model.bundle_format", "write_atomically", after=True),
    "swapping": Point("pathlib:Path", "rename", after=True, when=lambda p, _: p.name == "best"),
    "exported": Point("shiftsearch.experiments.outcome.exported", "save_bundle", after=True),
    "concluded": Point("shiftsearch.experiments.adornments", "write_report"),
}


def arm(strike: str) -> None:
    """Put a strike into this process."""
    name, count, *deed = strike.split(":")
    kill = functools.partial(*DEEDS[deed[0]]) if deed else kill_driver
    if name == "seconds":
        timer = threading.Timer(float(count), kill)
        timer.daemon = True
        timer.start()
        return
    point = POINTS[name]
    owner = pkgutil.resolve_name(point.owner)
    original = getattr(owner, point.attribute)
    passed = itertools.count(1)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        hit = point.when(*args) and next(passed) == int(count)
        if hit and point.half:
            *others, last = args
            original(*others, last[: len(last) // 2])
        if hit and not point.after:
            kill()
        result = original(*args, **kwargs)
        if hit and point.after:
            kill()
        return result

    setattr(owner, point.attribute, wrapper)


def kill_driver() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_workers() -> None:
    """SIGKILL the Ray workers of this driver, busy and idle ones."""
    for worker in workers():
        os.kill(worker, signal.SIGKILL)


def strike_one(number: int, longest: float) -> None:
    """Send a signal to one worker that is at work, not later than `longest` seconds, if one is."""

    def soon() -> None:
        time.sleep(random.uniform(0, longest))
        while not (found := [pid for pid, title in workers().items() if b".train" in title]):
            time.sleep(0.01)
        os.kill(chosen := random.choice(found), number)
        print(f"{STRUCK}{chosen}", flush=True)

    threading.Thread(target=soon, daemon=True).start()


def fill_disk() -> None:
    """Leave no space on the disk of the file that `FILLER` names in the environment."""
    with suppress(OSError), Path(os.environ[FILLER]).open("wb", buffering=0) as file:
        while file.write(bytes(2**20)):
            pass


def interrupt_driver() -> None:
    """As Ctrl+C does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    signal.raise_signal(signal.SIGINT)


DEEDS: dict[str, tuple[Any, ...]] = {
    "ctrl-c": (interrupt_driver,),
    "fill": (fill_disk,),
    "workers": (kill_workers,),
    "worker": (strike_one, signal.SIGKILL, 0.5),
    "stop": (strike_one, signal.SIGSTOP, 0.0),
}
"""What else a strike may do than kill the driver."""


def workers() -> dict[int, bytes]:
    """The Ray workers of this driver by process number, and their titles."""
    parents: dict[int, int] = {}
    titles, found = dict[int, bytes](), dict[int, bytes]()
    for folder in Path("/proc").iterdir():
        try:
            pid = int(folder.name)
            parents[pid] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            with (folder / "cmdline").open("rb") as file:  # `trouble` delays `read_bytes`
                title = file.read()
        except (ValueError, OSError):  # no process, or gone by now
            continue
        # Not its agents: the node would die with them.
        if title.startswith(b"ray::") and b"Agent" not in title:
            titles[pid] = title
    for worker, title in titles.items():
        ancestor = worker
        while ancestor not in (os.getpid(), 0):
            ancestor = parents.get(ancestor, 0)
        if ancestor:
            found[worker] = title
    return found


def run_promptly(config: Mapping[str, str]) -> None:
    """Ray Tune's trainable; each epoch is told at once, however short, so that strikes meet it."""
    reports.EVERY = 0.0
    run_job(config)


def start(order: dict[str, Any]) -> int:
    """Fork, run the command there; its exit code, or minus the signal that killed it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ |= order["environment"]
        trouble.begin()
        shiftsearch.search.executing.tune.run_job = run_promptly
        for name, value in order["constants"].items():
            setattr(pkgutil.resolve_name(name.split(":")[0]), name.split(":")[1], value)
        for strike in order["strikes"]:
            arm(strike)
        code = main(order["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    # Imported before the first fork; `main` itself imports them late.
    import shiftsearch.experiments.adornments
    import shiftsearch.experiments.commands
    from shiftsearch.experiments.cli import main

    for line in sys.stdin:
        print(start(json.loads(line)), flush=True)
