"""The command `init`: look at a folder of images, and write an experiment file that fits them."""

from __future__ import annotations

import json
import re
import tempfile
from argparse import Namespace
from pathlib import Path
from shlex import quote

from rich.console import Console

from shiftsearch.data.dataset import DataError
from shiftsearch.data.publishing import write_atomically
from shiftsearch.experiments.counts_view import say_counts
from shiftsearch.experiments.definition import DefinitionError, load
from shiftsearch.experiments.exits import DONE
from shiftsearch.experiments.inputs import refuse_misfits
from shiftsearch.experiments.reading_options import reading_of
from shiftsearch.experiments.run_folder import user_path
from shiftsearch.experiments.schema import experiment_schema
from shiftsearch.experiments.starting.proposal import propose
from shiftsearch.experiments.starting.speed import images_per_second
from shiftsearch.experiments.starting.survey import survey
from shiftsearch.experiments.starting.text import SCHEMA_FILE, experiment_text, said_of
from shiftsearch.model.device import choose_device
from shiftsearch.search.executing.resources import ResourceError, this_machine

INPUT_ERRORS = (DataError, DefinitionError, ResourceError)
"""Errors in the user's input; each has `problems` or a message of one line."""


def init(options: Namespace, console: Console) -> int:
    """`shiftsearch init`.

    Raises:
        DefinitionError: the file exists, or a path is not valid UTF-8; nothing is written.
        data.dataset.DataError: the images cannot be used; nothing is written.
    """
    folder: Path = options.folder
    target = options.to or user_path(f"{_plain(folder.resolve().name)}.yaml")
    if target.exists():
        raise DefinitionError([f"{target}: exists already; name another file with --to"])
    paths = [str(path) for path in (folder, target)]
    if wrong := [path for path in paths if any("\ud800" <= c <= "\udfff" for c in path)]:
        raise DefinitionError([f"{path!r}: is not valid UTF-8" for path in wrong])
    found = survey(folder, reading_of(options))
    say_counts(console, found.counts)
    for line in said_of(found):
        console.print(line, soft_wrap=True, highlight=False)
    for warning in found.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)
    device = choose_device(cpus=1, gpus=None)
    device.apply()
    proposal = propose(found, this_machine(), images_per_second(found.dataset, device))
    text = experiment_text(found, proposal, target)
    # Elsewhere first, so that nothing is left if it does not fit the images.
    with tempfile.TemporaryDirectory() as beside:
        draft = Path(beside, f"{_plain(target.stem)}.yaml")
        draft.write_text(text, encoding="utf-8")
        experiment = load(str(draft))
    refuse_misfits(experiment, found.dataset)
    schema = json.dumps(experiment_schema(), indent=1) + "\n"
    write_atomically(target.parent / SCHEMA_FILE, schema.encode())
    write_atomically(target, text.encode())
    searched = experiment.search_space().distributions
    for line in (
        f"machine: {proposal.machine}",
        f"space: {len(searched)} hyperparameters, {proposal.trials} trials, {proposal.time}",
        f"experiment: {target}",
        "next:",
        f"  shiftsearch search {quote(str(options.to or target.name))}",
    ):
        console.print(line, soft_wrap=True, highlight=False)
    return DONE


def _plain(name: str) -> str:
    """The name as an experiment and its file may have it."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:60]
    return plain or "experiment"
