"""The commands of `shiftsearch`: each takes its parsed options and returns the exit code."""

from __future__ import annotations

import json
from argparse import Namespace

from rich.console import Console

from shiftsearch.data.cache import open_dataset
from shiftsearch.data.check import check
from shiftsearch.data.convert import import_images, write_folder
from shiftsearch.data.dataset import DataError
from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.call import Call
from shiftsearch.experiments.counts_view import say_counts
from shiftsearch.experiments.definition import DefinitionError, dump
from shiftsearch.experiments.exits import DONE
from shiftsearch.experiments.launch import resolve
from shiftsearch.experiments.reading_options import reading_of
from shiftsearch.experiments.run_folder import NotARun
from shiftsearch.experiments.schema import experiment_schema
from shiftsearch.model.bundle_format import BundleError
from shiftsearch.model.own_network import OwnNetworkError
from shiftsearch.search.executing.resources import ResourceError
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
