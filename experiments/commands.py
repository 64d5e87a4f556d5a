"""The commands of `shiftsearch`: each takes its parsed options and returns the exit code."""

from __future__ import annotations

import json
import math
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from shiftsearch.data.cache import open_dataset
from shiftsearch.data.check import check
from shiftsearch.data.convert import import_images, write_folder
from shiftsearch.data.dataset import SPLITS, DataError
from shiftsearch.data.reading import Reading
from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.adornments import attempt, explained, write_page
from shiftsearch.experiments.call import Call
from shiftsearch.experiments.counts_view import say_counts
from shiftsearch.experiments.definition import DefinitionError, dump, load
from shiftsearch.experiments.exits import DONE
from shiftsearch.experiments.last_words import say_failures, warner
from shiftsearch.experiments.launch import resolve
from shiftsearch.experiments.live.status import trials_of
from shiftsearch.experiments.outcome.looks import looks_so_far, note_looks
from shiftsearch.experiments.outcome.result_rows import read_result
from shiftsearch.experiments.outcome.results import STAGES, counts_of
from shiftsearch.experiments.outcome.statistics import score_interval, wilson
from shiftsearch.experiments.outcome.trials_table import write_trials_csv
from shiftsearch.experiments.own_network import load_with
from shiftsearch.experiments.reading_options import reading_of
from shiftsearch.experiments.rehearsal import (
    not_recorded,
    past,
    policies_of,
    reachable,
    rehearse,
)
from shiftsearch.experiments.report.findings import result_table
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.schema import experiment_schema
from shiftsearch.experiments.storage.holding import held
from shiftsearch.experiments.wording import interval, percent
from shiftsearch.model.bundle_facts import facts_of
from shiftsearch.model.bundle_format import BundleError
from shiftsearch.model.device import choose_device
from shiftsearch.model.objective import OBJECTIVES, Objective, beside_accuracy
from shiftsearch.model.own_network import OwnNetworkError
from shiftsearch.search.executing.resources import ResourceError
from shiftsearch.search.rehearsing.replay import Workers
from shiftsearch.search.rehearsing.surrogate import Surrogate
from shiftsearch.search.study.journal import RunLocked, StudyDamaged
from shiftsearch.search.study.stored_study import StudyMismatch

INPUT_ERRORS = (
    DataError,
    DefinitionError,
    BundleError,
    OwnNetworkError,
    StudyDamaged,
    StudyMismatch,
    RunLocked,
    ResourceError,
    NotARun,
)
"""Errors in the user's input; each has `problems` or a message of one line."""


def search(options: Namespace, console: Console) -> int:
    """`shiftsearch search`."""
    flags = {}
    for key in ("trials", "budget.seconds", "budget.trainings"):
        flag = key.split(".")[-1]
        if (value := getattr(options, flag)) is not None:
            flags[f"{key}={value}"] = f"--{flag} {value}"
    if options.storage is not None:
        flags[f"storage={json.dumps(options.storage)}"] = f"--storage {options.storage}"
    if options.until_converged:
        flags["until_converged=true"] = "--until-converged"
    overrides = [*options.overrides, *flags]
    experiment, folder = resolve(
        options.experiment, data=options.data, run=options.run, overrides=overrides, flags=flags
    )
    if options.print_config:
        print(dump(experiment), end="")
        return DONE
    from shiftsearch.experiments.run import search as run_search  # only a search needs Ray

    call = Call(options.address, options.command, own_process=True, retry=options.retry_failed)
    return run_search(experiment, folder, console, call)


def schema(options: Namespace, console: Console) -> int:
    """`shiftsearch schema`."""
    print(json.dumps(experiment_schema(), indent=1))
    return DONE


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


def evaluate(options: Namespace, console: Console) -> int:
    """`shiftsearch evaluate`."""
    bundle = load_with(options.bundle, options.network)
    if wrong := [name for name in options.split if name not in SPLITS]:
        raise DataError([f"--split {name}: must be {', '.join(SPLITS)}" for name in wrong])
    splits = tuple(name for name in SPLITS if name in options.split)
    how = bundle.record.preprocessing
    names = (options.train, options.tune, options.target)
    reading = Reading(*names, how.size, how.aspect, how.bits)
    dataset, warnings = open_dataset(options.data, splits=splits or SPLITS, how=reading)
    for warning in warnings:  # not on standard output, where --json prints its document
        print(f"warning: {warning}", file=sys.stderr)
    device = choose_device(gpus=None)
    device.apply()
    record, run = bundle.record, Run(options.bundle.parent)
    looked = any(part == "held-out" for _, part, *_ in bundle.parts(dataset, "after", splits))
    if looked and run.looks.exists():
        of = {"configuration": f"trial {record.study.number}", "replicate": record.study.replicate}
        note_looks(run.looks, [{**of, "stage": s, "purpose": "evaluate"} for s in STAGES])
    rows = bundle.evaluate(dataset, device, splits)
    beside = beside_accuracy(OBJECTIVES[facts_of(record).objective], counts_of(dataset))
    for row in rows if beside else ():
        row["scores"] = {score.name: _scored(score, row["confusion"]) for score in beside}
    if options.json:
        print(json.dumps(rows, indent=1, allow_nan=False))
        return DONE
    header = ("fine-tuning", "split", "part", "n", "accuracy", "95 % interval", "reads as")
    table = Table(*header, *(score.title for score in beside))
    for row in rows:
        bounds = interval(wilson(row["accuracy"], row["n"]))
        cells = (str(row["n"]), percent(row["accuracy"]), bounds, row["label"])
        scores = row.get("scores", {}).values()
        more = (f"{percent(s['value'])} {interval(s['interval'])}" for s in scores)
        table.add_row(row["stage"], row["split"], row["part"], *cells, *more)
    console.print(table)
    if looked:
        console.print("this was one more look at the held-out part of TEST2")
    return DONE


def _scored(score: Objective, confusion: Sequence[Sequence[int]]) -> dict[str, Any]:
    """A score of a confusion matrix, with its 95 % interval."""
    matrix = np.array(confusion)
    return {
        "value": score.of_confusion(matrix),
        "interval": list(score_interval(score.score, matrix)),
    }


def data_check(options: Namespace, console: Console) -> int:
    """`shiftsearch data check`."""
    dataset, warnings = open_dataset(options.folder, how=reading_of(options))
    found = check(dataset)
    say_counts(console, found)
    for warning in [*warnings, *found.warnings]:
        console.print(f"warning: {warning}", style="yellow")
    return DONE


def data_synthesize(options: Namespace, console: Console) -> int:
    """`shiftsearch data synthesize`."""
    dataset = synthesize(options.seed, options.size, drift=options.drift)
    write_folder(dataset, options.folder)
    count = sum(len(split) for split in dataset.splits.values())
    console.print(f"{count} synthetic images in {options.folder}, digest {dataset.digest}")
    return DONE


def data_import(options: Namespace, console: Console) -> int:
    """`shiftsearch data import`."""
    classes = [name.strip() for name in options.classes.split(",")] if options.classes else []
    done, warnings = import_images(options.source, options.folder, reading_of(options), classes)
    console.print(done)
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow")
    return DONE
