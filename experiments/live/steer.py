"""`shiftsearch enqueue` and `stop`, and how a command asks the driver of a running search."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from shiftsearch.experiments.definition import DefinitionError, load
from shiftsearch.experiments.live.status import continuing, status_of, trials_of
from shiftsearch.experiments.live.steering import send
from shiftsearch.experiments.mapping import read_value
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.search.proposing.space import SpaceError


class Refused(ValueError):  # noqa: N818, named by its cause
    """Nothing was done; the message says why."""


INPUT_ERRORS = (DefinitionError, NotARun, Refused, SpaceError)

WAIT = 90.0
"""Seconds to wait for the driver: Ray may be starting, and NFS shows new files late."""


def enqueue(options: Namespace, console: Console) -> int:
    """`shiftsearch enqueue`."""
    run = live(options.run)
    # Checked here as well as by the driver, so that problems are shown at once, one per line.
    space = load(str(run.definition)).search_space()
    base = None if options.trial is None else _of_trial(run, options.trial)
    point = space.point(_assignments(options.values), "enqueue", base)
    return ask(run, "enqueue", {"configuration": point}, console)


def stop(options: Namespace, console: Console) -> int:
    """`shiftsearch stop`."""
    return ask(live(options.run), "stop", {"now": options.now}, console)


def live(folder: Path) -> Run:
    """The run.

    Raises:
        Refused: it is known that no driver works on it, or its search is over.
        experiments.run_folder.NotARun: the folder holds no run.
    """
    run = Run(folder)
    status = status_of(run)
    if status["driver"]["alive"] is False:
        raise Refused(
            f"{run.folder}: no search runs here ({status['driver']['text']}); "
            f"`{continuing(run)}` continues it"
        )
    if status["phase"] == "concluding":
        raise Refused(f"{run.folder}: the search is over, its result is being written")
    return run


def _of_trial(run: Run, number: int) -> Mapping[str, Any]:
    """The configuration of a trial."""
    trials = trials_of(run)
    if not 0 <= number < len(trials) or not trials[number].configuration:
        raise Refused(f"--from {number}: must be a trial of this run, 0 to {len(trials) - 1}")
    return trials[number].configuration


def _assignments(texts: Sequence[str]) -> dict[str, Any]:
    """The values in `KEY=VALUE` texts by flat name, read as in an experiment file."""
    found: dict[str, Any] = {}
    problems = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            problems.append(f"enqueue: {text} must have the form KEY=VALUE")
        elif key in found:
            problems.append(f"enqueue: {key} is given twice")
        else:
            found[key] = read_value(value)
    if problems:
        raise DefinitionError(problems)
    return found


def ask(run: Run, command: str, arguments: Mapping[str, Any], console: Console) -> int:
    """Send a request, wait for the answer, and print it; returns the exit code.

    Raises:
        Refused: the driver refused the request, or did not take it in time.
    """
    answer = send(run.commands, command, arguments, WAIT)
    if answer is None:
        raise Refused(
            f"{run.folder}: no driver took the request within {WAIT:.0f} s; it is withdrawn"
        )
    if not answer.accepted:
        raise Refused(f"{command}: {answer.text}")
    console.print(f"{command}: {answer.text}", soft_wrap=True)
    return 0
