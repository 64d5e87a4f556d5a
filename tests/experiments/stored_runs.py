"""Run folders with a searched study in them, made without Ray or training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from shiftsearch.experiments.definition import build, dump
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.study.study import Study
from tests.made_results import made_stage

EXPERIMENT: Mapping[str, Any] = {
    "name": "tests",
    "trials": 8,
    "sampler": "random",
    "protocol": {"baseline": {"max_epochs": 4}},
    "space": {
        "baseline": {"dropout": {"low": 0.0, "high": 0.6}, "batch_size": {"choices": [16, 32]}},
        "fine_tune": {"frozen_layers": {"low": 0, "high": 4}},
    },
    "policy": {"branches": 2, "first_baselines": 2},
}
"""The reference configuration, with a batch size of 64, lies outside of the space."""

NEW_KEYS = ("budget", "until_converged", "start_up", "policy")
"""Keys of the experiment that the first version did not have."""


def stored_run(folder: Path, digest: str = "d1", *, old: bool = False, **changes: Any) -> Run:
    """A run of `EXPERIMENT` with changes, its study searched to the end.

    Args:
        folder: created.
        digest: of its dataset.
        old: as the first version left it, which shared no baseline and knew fewer keys.
        changes: top-level keys of the experiment.
    """
    raw = {**EXPERIMENT, **changes} | ({"policy": {"branches": 1}} if old else {})
    experiment, run = build(raw, "tests"), Run(folder)
    folder.mkdir(parents=True)
    written = yaml.safe_load(dump(experiment))
    if old:
        written = {key: value for key, value in written.items() if key not in NEW_KEYS}
    run.definition.write_text(yaml.safe_dump(written))
    space, identity = experiment.search_space(), experiment.identity(digest)
    study = Study(run.journal, space, experiment.settings(), identity)
    while (job := study.ask()) is not None:
        value = accuracy(job.configuration)
        stopped = any(study.reach(job, epochs, value - 0.1 / epochs) for epochs in job.rungs)
        if stopped:
            continue
        if not old:
            study.share(job)
        study.finish(job, protocol_result(value))
    return run


def accuracy(configuration: Mapping[str, Value]) -> float:
    """Best at a baseline dropout of 0.3 and no frozen layers."""
    dropout, frozen = configuration["baseline.dropout"], configuration["fine_tune.frozen_layers"]
    return 0.9 - (dropout - 0.3) ** 2 - 0.02 * frozen


def protocol_result(value: float) -> ProtocolResult:
    """4 baseline epochs in 8 s, and 2 s of fine-tuning."""
    return ProtocolResult(made_stage(0.5, 0.2, 4, 8.0), made_stage(0.9, value, 3, 2.0, "c1-0003"))
