"""The command `report`: everything that explains the result of a finished run, made again."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from shiftsearch.experiments.adornments import explained, write_page
from shiftsearch.experiments.attempting import attempt
from shiftsearch.experiments.commands import INPUT_ERRORS as INPUT_ERRORS
from shiftsearch.experiments.definition import load
from shiftsearch.experiments.exits import DONE
from shiftsearch.experiments.last_words import say_failures, warner
from shiftsearch.experiments.live.status import trials_of
from shiftsearch.experiments.outcome.looks import looks_so_far
from shiftsearch.experiments.outcome.result_rows import read_result
from shiftsearch.experiments.outcome.trials_table import write_trials_csv
from shiftsearch.experiments.own_network import load_with
from shiftsearch.experiments.report.findings import result_table
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.storage.holding import held


def report(options: Namespace, console: Console) -> int:
    """`shiftsearch report`."""
    run = Run(options.run)
    if not (run.result.exists() and run.journal.exists()):
        raise NotARun(f"{run.result}: does not exist; the search is not finished")
    warn = warner(console)
    with held(run, "`shiftsearch report`"):  # so a search cannot write the same files meanwhile
        result = read_result(run.result)
        _take_network(run, result, options.network, warn)
        result["held_out_looks"] = looks_so_far(run.looks)
        trials = trials_of(run)
        attempt("trials.csv", lambda: write_trials_csv(trials, run.trials), warn)
        space = load(str(run.definition)).search_space()
        write_page(run, result, trials, space, explained(run, warn), warn)
    say_failures(console, run, result, trials)
    console.print(result_table(result))
    console.print(f"report: {run.report}", soft_wrap=True)
    return DONE


def _take_network(
    run: Run, result: Mapping[str, Any], name: str | None, warn: Callable[[str], None]
) -> None:
    """Import the own network that the analysis needs, if it is named; else say that it is not."""
    source = str(result["winner"]["configuration"].get("network.source", ""))
    if name is not None:
        load_with(run.bundle, name)
    elif source:
        plain = source.partition("@")[0]
        warn(f"the analysis is left out: it needs your own network, --network {plain}")
