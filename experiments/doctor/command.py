"""The command `shiftsearch doctor`: a line for each check, or one JSON document."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from shiftsearch.experiments.definition import REQUIRED, DefinitionError, Experiment, build, load
from shiftsearch.experiments.doctor.examination import Examination
from shiftsearch.experiments.doctor.facts import Facts
from shiftsearch.experiments.doctor.finding import Finding
from shiftsearch.experiments.exits import DONE, WRONG_INPUT, escaped
from shiftsearch.experiments.run_folder import NotARun, Run, user_path
from shiftsearch.experiments.storage.place import place_of
from shiftsearch.model.remote import url_problem

INPUT_ERRORS = (DefinitionError, NotARun)

_COLOURS = {"PASS": "green", "WARN": "yellow", "FAIL": "red"}


def doctor(options: Namespace, console: Console) -> int:
    """`shiftsearch doctor`; 0 if no check failed, else 2.

    Raises:
        DefinitionError: the experiment is wrong, or --storage is no such URL.
        NotARun: the run's `storage.json` is damaged.
    """
    folder = options.data
    if options.experiment is None:
        experiment = _of_run(options.run)
    else:
        experiment = load(options.experiment)
        folder = folder or _folder(experiment)
    looked = Examination(
        options.address,
        folder,
        options.run,
        os.environ,
        storage=_storage(options) or experiment.storage,
        asked=experiment.resources,
        reading=experiment.images.reading,
    )
    looked()
    if options.json:
        print(json.dumps(document(looked), indent=1))
    else:
        for finding in looked.findings:
            console.print(line(finding), soft_wrap=True)
        if looked.skipped:
            console.print(f"not looked at: {looked.skipped}; repair what failed first")
    return WRONG_INPUT if looked.state == "FAIL" else DONE


def line(finding: Finding) -> Text:
    """A finding as it is printed."""
    state = Text(finding.state, style=_COLOURS[finding.state])
    return state.append(f" {escaped(str(finding))}", style="default")


def document(looked: Examination) -> dict[str, object]:
    """The findings and nodes as JSON values; without anything of the token but its source."""
    return {
        "state": looked.state,
        "checks": [asdict(finding) for finding in looked.findings],
        "nodes": {name: _shown(facts) for name, facts in looked.nodes.items()},
        "skipped": looked.skipped,
    }


def _shown(facts: Facts) -> dict[str, object]:
    values = asdict(facts)
    del values["token"]["mark"]
    return values


def _of_run(folder: Path | None) -> Experiment:
    """The experiment in a run's folder; if there is none, one with the defaults."""
    if folder is None or not Run(folder).definition.exists():
        return build({}, "defaults")
    return load(str(Run(folder).definition))


def _folder(experiment: Experiment) -> Path | None:
    """The folder of the experiment's images, if it names one."""
    if experiment.data in ("synthetic", REQUIRED):
        return None
    return user_path(experiment.data)


def _storage(options: Namespace) -> str:
    """The URL of --storage; else where the run lies besides its folder; else empty.

    Raises:
        DefinitionError: --storage is no such URL.
        NotARun: the run's `storage.json` is damaged.
    """
    if options.storage is not None:
        if problem := url_problem(options.storage):
            raise DefinitionError([f"storage: {problem}"])
        return str(options.storage)
    place = None if options.run is None else place_of(Run(options.run))
    return "" if place is None else place.storage
