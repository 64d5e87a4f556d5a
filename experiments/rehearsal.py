"""`shiftsearch replay`: rehearse settings of the search on what past runs recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from experiments.definition import DefinitionError, Experiment, load
from experiments.folder import NotARun, Run
from search.journal import RunLock
from search.recording import RecordedBaseline, recorded
from search.records import stored_trials
from search.replay import Replayed, Workers, replay, time_to_value
from search.surrogate import Surrogate

_LEAST = 5
"""Recorded trials that reach the target, at least: a single one may be luck."""


@dataclass(frozen=True)
class Rehearsed:
    """What one policy came to over the seeds.

    Attributes:
        name: as given.
        quartiles: of the seconds until the best trial reached the target; infinite where not.
        reached: share of the seeds that reached it.
        best: mean of the best value at the end of each search.
    """

    name: str
    quartiles: tuple[float, float, float]
    reached: float
    best: float


def past(folders: Sequence[Path]) -> tuple[Experiment, list[RecordedBaseline]]:
    """The experiment of runs that agree in data, space and protocol, and what they recorded.

    Raises:
        experiments.folder.NotARun: naming what is not a run, or what the runs do not share.
        search.journal.RunLocked: a driver works on a run.
    """
    experiments: list[Experiment] = []
    recording: list[RecordedBaseline] = []
    for folder in folders:
        run = Run(folder)
        if not (run.definition.exists() and run.journal.exists()):
            raise NotARun(f"{folder}: is not a run; it has no {run.journal.name}")
        experiments.append(load(str(run.definition)))
        lock = RunLock(run.lock)
        lock.acquire()
        try:
            recording += recorded(stored_trials(run.journal))
        finally:
            lock.release()
    first = _shared(experiments[0])
    for folder, experiment in zip(folders, experiments, strict=True):
        for field, value in _shared(experiment).items():
            if value != first[field]:
                raise NotARun(
                    f"{folder}: {field} is {value}, but {first[field]} in {folders[0]}; runs "
                    "that are replayed together must agree in it"
                )
    return experiments[0], recording


def _shared(experiment: Experiment) -> dict[str, str]:
    identity = experiment.identity(experiment.data)
    return {k: v for k, v in identity.items() if k not in ("seed", "dtype")}


def policy_of(experiment: Experiment, text: str) -> Experiment:
    """The experiment with `KEY=VALUE,...` of its policy, sampler and start_up replaced.

    Raises:
        DefinitionError: naming the text and what is wrong with it.
    """
    changes: dict[str, Any] = {}
    policy = experiment.policy.model_dump()
    for part in filter(None, text.split(",")):
        key, equals, raw = part.partition("=")
        if not equals or key not in {*policy, "sampler", "start_up"}:
            names = ", ".join([*policy, "sampler", "start_up"])
            raise DefinitionError(
                [f"--policy {text}: {part!r} is not KEY=VALUE with one of {names}"]
            )
        if key == "rungs":
            policy[key] = tuple(int(r) if r.isdigit() else r for r in raw.split("+") if r)
        elif key in policy:
            policy[key] = _number(raw)
        else:
            changes[key] = _number(raw) if key == "start_up" else raw
    whole = experiment.model_dump() | changes | {"policy": policy}
    try:
        return Experiment.model_validate(whole)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise DefinitionError([f"--policy {text}: {field}: {problem['msg']}"]) from None


def _number(raw: str) -> object:
    try:
        return json.loads(raw)
    except json.JSONDecodeError:
        return raw


def rehearse(
    experiment: Experiment,
    surrogate: Surrogate,
    policies: Mapping[str, Experiment],
    seeds: int,
    workers: Workers,
    target: float,
) -> list[Rehearsed]:
    """Each policy over the same study seeds; the target is on the selection part."""
    space, found = experiment.search_space(), []
    for name, changed in policies.items():
        searches = [
            replay(surrogate, space, replace(changed.settings(), seed=seed), workers)
            for seed in range(seeds)
        ]
        times = [time_to_value(s, target, held_out=False) for s in searches]
        finite = np.array([np.inf if t is None else t for t in times])
        quartiles = np.percentile(finite, [25, 50, 75], method="nearest")
        best = float(np.mean([_best(search) for search in searches]))
        reached = float(np.isfinite(finite).mean())
        low, middle, high = (float(q) for q in quartiles)
        found.append(Rehearsed(name, (low, middle, high), reached, best))
    return found


def _best(search: Sequence[Replayed]) -> float:
    return max((trial.value for trial in search), default=0.0)


def reachable(recording: Sequence[RecordedBaseline]) -> float:
    """The highest value that at least `_LEAST` recorded trials reach."""
    values = sorted((f.value for b in recording for f in b.fine_tunes if not f.rung), reverse=True)
    return values[min(_LEAST, len(values)) - 1]
