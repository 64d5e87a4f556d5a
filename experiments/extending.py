"""`shiftsearch extend`: a search, running or not, goes on to more trials."""

from __future__ import annotations

from argparse import Namespace

from rich.console import Console

from shiftsearch.experiments import commands
from shiftsearch.experiments.call import Call
from shiftsearch.experiments.definition import load
from shiftsearch.experiments.launch import resolve
from shiftsearch.experiments.live import steer
from shiftsearch.experiments.live.status import status_of
from shiftsearch.experiments.run_folder import Run

INPUT_ERRORS = (*commands.INPUT_ERRORS, *steer.INPUT_ERRORS)
"""Errors in the user's input; each has `problems` or a message of one line."""


def extend(options: Namespace, console: Console) -> int:
    """`shiftsearch extend`: asks the run's driver, or continues the run if it has none."""
    run, trials = Run(options.run), options.trials
    if status_of(run)["driver"]["alive"] is not False:
        if options.address is not None:
            raise steer.Refused("--address: is only for a run without a driver; this one has one")
        return steer.ask(steer.live(run.folder), "extend", {"trials": trials}, console)
    asked = load(str(run.definition)).trials
    if trials <= asked:
        raise steer.Refused(f"--trials is {trials}, but must be above {asked}, the present number")
    override, flag = f"trials={trials}", f"--trials {trials}"
    experiment, folder = resolve(
        None, run=run.folder, overrides=[override], flags={override: flag}
    )
    from shiftsearch.experiments.run import search  # only a search needs Ray

    call = Call(options.address, options.command, own_process=True)
    return search(experiment, folder, console, call)
