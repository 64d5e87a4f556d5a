"""The command `replay`: policies of search, compared on the recorded trials of finished runs."""

from __future__ import annotations

import math
from argparse import Namespace

from rich.console import Console
from rich.table import Table

from shiftsearch.experiments.commands import INPUT_ERRORS as INPUT_ERRORS
from shiftsearch.experiments.definition import DefinitionError
from shiftsearch.experiments.exits import DONE
from shiftsearch.experiments.rehearsal import (
    not_recorded,
    past,
    policies_of,
    reachable,
    rehearse,
)
from shiftsearch.experiments.run_folder import NotARun
from shiftsearch.experiments.wording import percent
from shiftsearch.model.objective import OBJECTIVES
from shiftsearch.search.rehearsing.replay import Workers
from shiftsearch.search.rehearsing.surrogate import Surrogate


def replay(options: Namespace, console: Console) -> int:
    """`shiftsearch replay`."""
    problems = [
        f"--{name} {value}: must be at least 1"
        for name in ("seeds", "workers", "trials")
        if (value := getattr(options, name)) is not None and value < 1
    ]
    if options.target is not None and not 0 <= options.target <= 1:
        problems.append(f"--target {options.target:g}: must be in 0..1")
    if problems:
        raise DefinitionError(problems)
    experiment, recording = past(options.runs)
    policies = policies_of(experiment, options.policy, options.trials)
    if problems := not_recorded(policies, recording):
        raise DefinitionError(problems)
    try:
        surrogate = Surrogate(recording, experiment.search_space())
    except ValueError as error:
        raise NotARun(f"{options.runs[0]}: {error}") from None
    errors = surrogate.errors()
    target = reachable(recording) if options.target is None else options.target
    workers = Workers(options.workers)
    found = rehearse(experiment, surrogate, policies, options.seeds, workers, target)
    title = f"{options.seeds} simulated searches each, {options.workers} workers"
    table = Table(
        "policy", f"median s to {percent(target)}", "quartiles", "reached", "best", title=title
    )
    for row in found:
        low, middle, high = (f"{q:.0f}" if math.isfinite(q) else "never" for q in row.quartiles)
        table.add_row(
            row.name, middle, f"{low} to {high}", f"{row.reached:.0%}", percent(row.best)
        )
    console.print(table)
    ranks = errors["rank_correlation"]
    console.print(
        f"{OBJECTIVES[experiment.objective].title} on the selection part; the surrogate's error "
        "out of sample is "
        f"{percent(errors['rmse'])} (root mean square), the standard deviation of the recorded "
        f"values is {percent(errors['recorded_sd'])}, the rank correlation is "
        + (f"{ranks:.2f}" if math.isfinite(ranks) else "unknown: all predictions are equal")
    )
    return DONE
